import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GIB, MIB } from "../../base/units.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { createImage } from "../../qemu/image.ts";
import {
  diskName,
  extentsOf,
  testSignal as signal,
  type TestHost,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { startTestMachine } from "./test-machine.ts";

const disks = [{ name: "data", sizeBytes: 64 * MIB }];
const data = diskName("db/data");
const since = new Map([[data, testPoint(1)]]);
const sinceNext = new Map([[data, testPoint(2)]]);

let host: TestHost;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
});
afterEach(() => host[Symbol.asyncDispose]());

test("a paused machine's points show what its device wrote, and old bytes after an overwrite", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track([data], testPoint(1), { signal });
  await machine.io("data", "write -P 7 1M 64k");
  {
    await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
    await machine.io("data", "write -P 8 1M 64k");
    await machine.io("data", "write -P 8 8M 64k");
    const into = new Uint8Array(blockSizeBytes);
    await snapshot.read(data, MIB, into);
    expect(into).toEqual(new Uint8Array(blockSizeBytes).fill(7));
    expect(await extentsOf(snapshot, data)).toEqual([
      { offsetBytes: MIB, lengthBytes: blockSizeBytes, state: "data" },
    ]);
    await snapshot.forget();
  }
  expect(await machine.ours()).toEqual([]);
  await using snapshot = await source.freeze({ id: testPoint(3), since: sinceNext, signal });
  expect(await extentsOf(snapshot, data)).toEqual([
    { offsetBytes: MIB, lengthBytes: blockSizeBytes, state: "data" },
    { offsetBytes: 8 * MIB, lengthBytes: blockSizeBytes, state: "data" },
  ]);
});

test("the machine is described as its QEMU tells, with the configuration's word above it", async () => {
  await using _machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const settings = {
    name: "db" as never,
    qmpPath: _machine.qmpPath,
    disks: [{ name: "data", device: "d-data", tracking: "persistent" as const }],
  };
  await using source = host.source({}, { machines: [{ ...settings, boot: { memoryBytes: GIB } }] });
  await source.track([data], testPoint(1), { signal });
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(snapshot.machines).toEqual([
    {
      name: "db",
      platform: "qemu",
      definition: {
        machineType: expect.stringMatching(/^pc-q35-/),
        cpuCount: 1,
        memoryBytes: GIB,
        disks: [{ name: "data", serial: "data-1", bootIndex: null }],
      },
    },
  ]);
});

test("a disk is found by device, by drive's image and by node alike", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  for (const place of [
    { device: "d-data" },
    { image: host.imagePath("db", "data") },
    { node: "data" },
  ]) {
    const disk = { name: "data", tracking: "persistent" as const, ...place };
    await using source = host.source(
      {},
      { machines: [{ name: "db" as never, qmpPath: machine.qmpPath, disks: [disk] }] },
    );
    const { disks: found } = await source.repair({ keep: [], signal });
    expect(found[0]?.disk).toEqual({ name: data, sizeBytes: 64 * MIB });
  }
});

test("a disk of 4 KiB sectors is read to its last byte", async () => {
  const odd = [{ name: "odd", sizeBytes: 4 * MIB + 4096, sectorBytes: 4096 as const }];
  await host.createImages("app", odd);
  await using machine = await startTestMachine(host, "app", odd, { isPaused: true });
  await using source = host.source({ app: odd });
  const name = diskName("app/odd");
  await source.track([name], testPoint(1), { signal });
  await machine.io("odd", "write -P 3 4M 4k");
  await using snapshot = await source.freeze({
    id: testPoint(2),
    since: new Map([[name, testPoint(1)]]),
    signal,
  });
  await machine.io("odd", "write -P 4 4M 4k");
  expect(await extentsOf(snapshot, name)).toEqual([
    { offsetBytes: 4 * MIB, lengthBytes: 4096, state: "data" },
  ]);
  const into = new Uint8Array(4096);
  await snapshot.read(name, 4 * MIB, into);
  expect(into).toEqual(new Uint8Array(4096).fill(3));
});

test("a grown disk's tail is changed, though QEMU's bitmap calls it clean", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track([data], testPoint(1), { signal });
  await machine.io("data", "write -P 7 64k 64k");
  await machine.qmp.execute("block_resize", { "node-name": "data", size: 65 * MIB + 512 });
  {
    await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
    expect(snapshot.disks[0]).toEqual({ name: data, sizeBytes: 65 * MIB + 512 });
    expect(await extentsOf(snapshot, data)).toEqual([
      { offsetBytes: blockSizeBytes, lengthBytes: blockSizeBytes, state: "data" },
      { offsetBytes: 64 * MIB, lengthBytes: MIB + 512, state: "zero" },
    ]);
    await snapshot.forget();
  }
  await using after = await source.freeze({ id: testPoint(3), since: sinceNext, signal });
  expect(await extentsOf(after, data)).toEqual([]);
});

test("a disk that grew while we were away is counted from the size it had at the point", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  {
    await using source = host.source({ db: disks });
    await source.track([data], testPoint(1), { signal });
  }
  await machine.qmp.execute("block_resize", { "node-name": "data", size: 65 * MIB });
  await machine.io("data", "write -P 1 64M 64k");
  await using source = host.source({ db: disks });
  await source.repair({ keep: [testPoint(1)], signal });
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(await extentsOf(snapshot, data)).toEqual([
    { offsetBytes: 64 * MIB, lengthBytes: blockSizeBytes, state: "data" },
    { offsetBytes: 64 * MIB + blockSizeBytes, lengthBytes: 15 * blockSizeBytes, state: "zero" },
  ]);
});

test("a resize while a point is read is refused by QEMU and works after it", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track([data], testPoint(1), { signal });
  const resize = { "node-name": "data", size: 65 * MIB };
  const snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await expect(machine.qmp.execute("block_resize", resize)).rejects.toThrow();
  await snapshot[Symbol.asyncDispose]();
  await machine.qmp.execute("block_resize", resize);
});

test("a snapshot that another tool puts above a disk fails the next point, which would miss every write", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track([data], testPoint(1), { signal });
  const path = join(host.directory, "overlay.qcow2");
  await createImage(path, { format: "qcow2", sizeBytes: 64 * MIB });
  await machine.qmp.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": "overlay",
    backing: null,
    file: { driver: "file", filename: path },
  });
  await machine.qmp.execute("blockdev-snapshot", { node: "data", overlay: "overlay" });
  await machine.io("data", "write -P 7 1M 64k");
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "DISK_MISSING", details: { disk: data } });
  expect(await machine.ours()).toEqual([]);
  await expect(source.repair({ keep: [testPoint(1)], signal })).rejects.toMatchObject({
    code: "DISK_MISSING",
  });
});

test("a disk found by its device that moved to another image has lost its bitmap", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const disk = { name: "data", device: "d-data", tracking: "persistent" as const };
  await using source = host.source(
    {},
    { machines: [{ name: "db" as never, qmpPath: machine.qmpPath, disks: [disk] }] },
  );
  await source.track([data], testPoint(1), { signal });
  const path = join(host.directory, "moved.qcow2");
  await createImage(path, { format: "qcow2", sizeBytes: 64 * MIB });
  await machine.qmp.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": "moved",
    file: { driver: "file", filename: path },
  });
  const ready = machine.qmp.waitForEvent(({ event }) => event === "BLOCK_JOB_READY");
  const mirror = { "job-id": "move", device: "data", target: "moved", sync: "full" };
  await machine.qmp.execute("blockdev-mirror", mirror);
  await ready;
  const done = machine.qmp.waitForEvent(({ event }) => event === "BLOCK_JOB_COMPLETED");
  await machine.qmp.execute("block-job-complete", { device: "move" });
  await done;
  await machine.io("data", "write -P 7 1M 64k");
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "BITMAP_LOST", details: { disk: data } });
  const { disks: found } = await source.repair({ keep: [testPoint(1)], signal });
  expect(found).toMatchObject([{ state: "untracked" }]);
});

test("an NBD server that somebody stopped is started again for the next point", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track([data], testPoint(1), { signal });
  await machine.io("data", "write -P 7 1M 64k");
  {
    await using _snapshot = await source.freeze({ id: testPoint(2), since, signal });
  }
  await machine.qmp.execute("nbd-server-stop");
  await using snapshot = await source.freeze({ id: testPoint(3), since, signal });
  expect(await extentsOf(snapshot, data)).toHaveLength(1);
});

test("our NBD server is gone when the source is, and another tool's is refused by name", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const server = { addr: { type: "unix", data: { path: `${host.directory}/other` } } };
  {
    await using source = host.source({ db: disks });
    await source.track([data], testPoint(1), { signal });
    await using _snapshot = await source.freeze({ id: testPoint(2), since, signal });
  }
  await machine.qmp.execute("nbd-server-start", server);
  await using source = host.source({ db: disks });
  const freezing = source.freeze({ id: testPoint(3), since, signal });
  await expect(freezing).rejects.toMatchObject({
    code: "QMP_REFUSED",
    message: expect.stringContaining("another tool's") as string,
  });
  expect(await machine.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`,
  ]);
});

test.each(["virtio-blk", "virtio-scsi"] as const)(
  "a %s disk that an iothread serves is refused before anything is done: QEMU would die with its guest when we leave",
  async (iothread) => {
    const threaded = [{ ...disks[0]!, iothread }];
    await using machine = await startTestMachine(host, "db", threaded, { isPaused: true });
    await using source = host.source({ db: disks });
    const refused = { code: "IOTHREAD_UNSAFE", details: { disk: data } };
    await expect(source.repair({ keep: [], signal })).rejects.toMatchObject(refused);
    await expect(source.track([data], testPoint(1), { signal })).rejects.toMatchObject(refused);
    expect(await machine.bitmaps("data")).toEqual([]);
    expect(await machine.ours()).toEqual([]);
  },
);

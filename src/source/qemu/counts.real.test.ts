import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { createImage } from "../../qemu/image.ts";
import {
  diskName,
  testSignal as signal,
  type TestHost,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { isRunning, startTestMachine } from "./test-machine.ts";

const disks = [
  { name: "data", sizeBytes: 64 * MIB },
  { name: "wal", sizeBytes: 16 * MIB },
];
const names = [diskName("db/data"), diskName("db/wal")];
const since = new Map(names.map((name) => [name, testPoint(1)]));

let host: TestHost;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
});
afterEach(() => host[Symbol.asyncDispose]());

test("counting asks a running machine one question, and a second one while a point is open", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const sent: string[] = [];
  const onCommand = ({ execute }: { execute: string }) => sent.push(execute);
  await using source = host.source({ db: disks }, { onCommand });
  await source.track(names, testPoint(1), { signal });
  await machine.io("data", "write -P 7 1M 64k");
  sent.length = 0;
  expect(await source.dirtyBytes({ since, signal })).toBe(blockSizeBytes);
  expect(sent).toEqual(["query-block"]);
  await using _snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await machine.io("wal", "write -P 7 0 64k");
  sent.length = 0;
  expect(await source.dirtyBytes({ since, signal })).toBe(2 * blockSizeBytes);
  expect(sent).toEqual(["query-block", "query-named-block-nodes"]);
});

test("a grown disk's tail counts as changed, though QEMU's bitmap calls it clean", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track(names, testPoint(1), { signal });
  await machine.qmp.execute("block_resize", { "node-name": "data", size: 65 * MIB });
  expect(await source.dirtyBytes({ since, signal })).toBe(MIB);
});

test("a disk that was cut off counts as changed, though nothing was written", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track(names, testPoint(1), { signal });
  await machine.qmp.execute("block_resize", { "node-name": "data", size: 63 * MIB });
  expect(await source.dirtyBytes({ since, signal })).toBe(MIB);
});

test("under another tool's snapshot the count is not known: the bitmap sees no write any more", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track(names, testPoint(1), { signal });
  expect(await source.dirtyBytes({ since, signal })).toBe(0);
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
  expect(await source.dirtyBytes({ since, signal })).toBeNull();
});

test("a disk that was moved to another image has no count: its old one is written to no more", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = host.source({ db: disks });
  await source.track(names, testPoint(1), { signal });
  expect(await source.dirtyBytes({ since, signal })).toBe(0);
  const path = join(host.directory, "moved.qcow2");
  await createImage(path, { format: "qcow2", sizeBytes: 64 * MIB });
  const file = { driver: "file", filename: path };
  await machine.qmp.execute("blockdev-add", { driver: "qcow2", "node-name": "moved", file });
  const ready = machine.qmp.waitForEvent(({ event }) => event === "BLOCK_JOB_READY");
  const mirror = { "job-id": "move", device: "data", target: "moved", sync: "full" };
  await machine.qmp.execute("blockdev-mirror", mirror);
  await ready;
  const done = machine.qmp.waitForEvent(({ event }) => event === "BLOCK_JOB_COMPLETED");
  await machine.qmp.execute("block-job-complete", { device: "move" });
  await done;
  await machine.io("data", "write -P 7 1M 64k");
  expect(await source.dirtyBytes({ since, signal })).toBeNull();
});

test("a machine that is off has no counts, and none of its images is opened for the question", async () => {
  await using source = host.source({ db: disks });
  const sent: string[] = [];
  {
    const onCommand = ({ execute }: { execute: string }) => sent.push(execute);
    await using asking = host.source({ db: disks }, { onCommand });
    expect(await asking.dirtyBytes({ since, signal })).toBeNull();
    expect(await asking.guestWrites({ signal })).toBeNull();
    expect(await asking.pause({ signal })).toEqual([]);
  }
  expect(sent).toEqual([]);
  const machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await source.track(names, testPoint(1), { signal });
  expect(await source.dirtyBytes({ since, signal })).toBe(0);
  await machine.quit();
  expect(await source.dirtyBytes({ since, signal })).toBeNull();
});

test("what guests' writes cost is counted over all disks, and what we read is not in it", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  await using source = host.source({ db: disks });
  await source.track(names, testPoint(1), { signal });
  const before = await source.guestWrites({ signal });
  expect(before).toEqual({ operations: 0, bytes: 0, totalTimeNs: 0 });
  await machine.io("data", "aio_write -P 7 1M 64k");
  await machine.io("data", "aio_flush");
  await machine.io("wal", "aio_write -P 7 0 4k");
  await machine.io("wal", "aio_flush");
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await snapshot.read(names[0]!, MIB, new Uint8Array(blockSizeBytes));
  const after = await source.guestWrites({ signal });
  expect(after).toMatchObject({ operations: 2, bytes: 64 * 1024 + 4096 });
  expect(after?.totalTimeNs).toBeGreaterThan(0);
});

test("a pause stops the machines that run, names them, and survives our leaving", async () => {
  await host.createImages("app", disks);
  await using db = await startTestMachine(host, "db", disks);
  await using app = await startTestMachine(host, "app", disks, { isPaused: true });
  {
    await using source = host.source({ db: disks, app: disks });
    expect(await source.pause({ signal })).toEqual(["db"]);
    expect(await source.pause({ signal })).toEqual([]);
  }
  expect(await isRunning(db)).toBe(false);
  expect(await isRunning(app)).toBe(false);
});

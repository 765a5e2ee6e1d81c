import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import type { Source } from "../../core/source.ts";
import { imageInfo } from "../../qemu/image.ts";
import { daemonPrefix } from "../../qemu/own-names.ts";
import {
  diskName,
  extentsOf,
  testSignal as signal,
  type TestHost,
  testGroup,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { startTestMachine } from "./test-machine.ts";

const disks = [
  { name: "data", sizeBytes: 64 * MIB },
  { name: "wal", sizeBytes: 16 * MIB },
];
const names = [diskName("db/data"), diskName("db/wal")];
const [data] = names as [(typeof names)[0]];
const since = (number: number) => new Map(names.map((name) => [name, testPoint(number)]));
const blockAt = (index: number, blocks = 1, state = "data") => ({
  offsetBytes: index * blockSizeBytes,
  lengthBytes: blocks * blockSizeBytes,
  state,
});

let host: TestHost;
let source: Source;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
  source = host.source({ db: disks });
});
afterEach(async () => {
  await source[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

const bitmapsOf = async (disk: string) =>
  (await imageInfo(host.imagePath("db", disk))).bitmaps.map(({ name }) => name).sort();

test("a chain goes on from running to stopped to running without a full read", async () => {
  {
    await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
    await source.track(names, testPoint(1), { signal });
    await machine.io("data", "write -P 7 1M 64k");
    await machine.quit();
  }
  {
    const report = await source.repair({ keep: [testPoint(1)], signal });
    expect(report.disks.map(({ state }) => state)).toEqual(["tracked", "tracked"]);
    await using snapshot = await source.freeze({ id: testPoint(2), since: since(1), signal });
    expect(await extentsOf(snapshot, data)).toEqual([blockAt(16)]);
    expect(await extentsOf(snapshot, "db/wal")).toEqual([]);
    const into = new Uint8Array(blockSizeBytes);
    await snapshot.read(data, MIB, into);
    expect(into).toEqual(new Uint8Array(blockSizeBytes).fill(7));
    await snapshot.forget();
  }
  expect(await bitmapsOf("data")).toEqual([`afterimage:erp:${testPoint(2)}:${64 * MIB}:db/data`]);
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await machine.io("data", "write -P 8 2M 64k");
  await source.repair({ keep: [testPoint(2)], signal });
  await using snapshot = await source.freeze({ id: testPoint(3), since: since(2), signal });
  expect(await extentsOf(snapshot, data)).toEqual([blockAt(32)]);
});

test("an offline point given up leaves what was counted, and its machine may start", async () => {
  await source.track(names, testPoint(1), { signal });
  {
    await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
    await machine.io("data", "write -P 7 1M 64k");
    await machine.quit();
  }
  {
    await using _snapshot = await source.freeze({ id: testPoint(2), since: since(1), signal });
  }
  expect(await bitmapsOf("data")).toEqual([`afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`]);
  await using _machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using again = await source.freeze({ id: testPoint(3), since: since(1), signal });
  expect(await extentsOf(again, data)).toEqual([blockAt(16)]);
});

test("a point released offline is forgotten when its machine has started meanwhile", async () => {
  await source.track(names, testPoint(1), { signal });
  const snapshot = await source.freeze({ id: testPoint(2), since: since(1), signal });
  await snapshot.release();
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await snapshot.forget();
  await snapshot[Symbol.asyncDispose]();
  expect(await machine.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(2)}:${64 * MIB}:db/data`,
  ]);
});

test("a point whose forget failed keeps its bitmap: it is the vault's head already", async () => {
  await source.track(names, testPoint(1), { signal });
  {
    await using snapshot = await source.freeze({ id: testPoint(2), since: since(1), signal });
    await snapshot.release();
    // Somebody starts the machine with its QMP socket elsewhere.
    await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
    await rename(machine.qmpPath, `${machine.qmpPath}.elsewhere`);
    await expect(snapshot.forget()).rejects.toMatchObject({ code: "DISK_IN_USE" });
    await snapshot[Symbol.asyncDispose]();
    await machine.quit();
  }
  const { disks: found } = await source.repair({ keep: [testPoint(2)], signal });
  expect(found).toMatchObject([{ since: testPoint(2) }, { since: testPoint(2) }]);
});

test("a machine cannot start while a point is read from its images", async () => {
  await source.track(names, testPoint(1), { signal });
  await using _snapshot = await source.freeze({ id: testPoint(2), since: since(1), signal });
  const strange = host.source({ db: disks });
  await expect(strange.repair({ keep: [], signal })).rejects.toMatchObject({
    code: "DISK_IN_USE",
    details: { path: host.imagePath("db", "data") },
  });
  await strange[Symbol.asyncDispose]();
});

test("images that a QEMU holds without a QMP socket for us are in use", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using blind = host.source(
    {},
    {
      machines: [
        {
          name: "db" as never,
          qmpPath: null,
          disks: disks.map(({ name }) => ({
            name,
            image: host.imagePath("db", name),
            tracking: "persistent" as const,
          })),
        },
      ],
    },
  );
  await expect(blind.repair({ keep: [], signal })).rejects.toMatchObject({ code: "DISK_IN_USE" });
  expect(machine.pid).toBeGreaterThan(0);
});

test("a stopped machine whose images are not configured is missing its QMP socket", async () => {
  await using unknown = host.source(
    {},
    {
      machines: [
        {
          name: "db" as never,
          qmpPath: join(host.directory, "db.qmp"),
          disks: [{ name: "data", node: "data", tracking: "persistent" }],
        },
      ],
    },
  );
  await expect(unknown.repair({ keep: [], signal })).rejects.toMatchObject({ code: "QMP_MISSING" });
});

test("the bitmap of a machine that was killed is inconsistent and removed, with its cause", async () => {
  await source.track(names, testPoint(1), { signal });
  {
    await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
    await machine.io("data", "write -P 7 1M 64k");
    await machine.kill();
  }
  const { disks: found, removed } = await source.repair({ keep: [testPoint(1)], signal });
  expect(found.map(({ state }) => state)).toEqual(["untracked", "untracked"]);
  expect(found[0]?.state === "untracked" && found[0].cause).toMatch(/inconsistent/);
  expect(removed).toHaveLength(2);
  expect(await bitmapsOf("data")).toEqual([]);
});

test("a stopped raw disk is untracked, cannot be tracked, and can be read", async () => {
  const raw = [{ name: "raw", sizeBytes: 8 * MIB, format: "raw" as const }];
  await host.createImages("app", raw);
  await writeFile(host.imagePath("app", "raw"), new Uint8Array(8 * MIB).fill(5));
  const name = diskName("app/raw");
  await using transient = host.source({ app: raw });
  const { disks: found } = await transient.repair({ keep: [testPoint(1)], signal });
  expect(found.map(({ state }) => state)).toEqual(["untracked"]);
  await expect(transient.track([name], testPoint(1), { signal })).rejects.toMatchObject({
    code: "DISK_UNSUPPORTED",
  });
  await using live = await transient.openLive(name, { signal });
  const into = new Uint8Array(blockSizeBytes);
  await live.read(MIB, into);
  expect(into).toEqual(new Uint8Array(blockSizeBytes).fill(5));
});

test("an image of another format than configured is refused by name", async () => {
  const raw = [{ name: "raw", sizeBytes: 8 * MIB, format: "raw" as const }];
  await host.createImages("app", raw);
  await using strict = host.source({ app: [{ name: "raw", sizeBytes: 8 * MIB }] });
  await expect(strict.repair({ keep: [], signal })).rejects.toMatchObject({
    code: "DISK_UNSUPPORTED",
  });
});

test("what a daemon of an earlier life left in scratch is removed, another group's is not", async () => {
  const stale = join(host.scratchDirectory, `${daemonPrefix(testGroup)}AbCdEf`);
  await mkdir(stale, { recursive: true });
  await writeFile(join(stale, "qmp"), "");
  const foreign = join(host.scratchDirectory, "afterimage-zzzzzzzz-dAbCdEf");
  await mkdir(foreign);
  await source.repair({ keep: [], signal });
  expect(await readdir(host.scratchDirectory)).toEqual(["afterimage-zzzzzzzz-dAbCdEf"]);
});

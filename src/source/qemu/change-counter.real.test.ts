import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../base/clock.ts";
import { nodeFileSystem } from "../../base/node-file-system.ts";
import { MIB } from "../../base/units.ts";
import type { MachineName } from "../../core/ids.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { qemuChangeCounter } from "./change-counter.ts";
import {
  diskName,
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
const data = diskName("db/data");
const wal = diskName("db/wal");
const block = blockSizeBytes;

let host: TestHost;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
});
afterEach(() => host[Symbol.asyncDispose]());

function counterOf(qmpPath: string, life = 1) {
  const named = disks.map(({ name }) => ({ name, node: name, tracking: "persistent" as const }));
  const options = {
    group: testGroup,
    machines: [{ name: "db" as MachineName, qmpPath, disks: named }],
    scratch: { directory: host.scratchDirectory, capBytes: 1_000_000 },
    clock: systemClock(),
    files: nodeFileSystem(),
  };
  return qemuChangeCounter(options, testPoint(life));
}

async function counts(counter: ReturnType<typeof counterOf>) {
  const changes = await counter.read({ signal });
  return changes.map(({ disk, uniqueBytes }) => [disk, Object.fromEntries(uniqueBytes)]);
}

test("counters count unique blocks, each from when it last began, and leave nothing", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  {
    await using counter = counterOf(machine.qmpPath);
    expect(await counter.start(["short", "whole"], { signal })).toEqual({ removed: [] });
    await machine.io("data", "write -P 7 1M 64k");
    await machine.io("data", "write -P 8 1M 64k");
    expect(await counts(counter)).toEqual([
      [data, { short: block, whole: block }],
      [wal, { short: 0, whole: 0 }],
    ]);
    await counter.restart("short", { signal });
    await machine.io("data", "write -P 7 2M 64k");
    await machine.io("wal", "write -P 7 0 512");
    expect(await counts(counter)).toEqual([
      [data, { short: block, whole: 2 * block }],
      [wal, { short: block, whole: block }],
    ]);
  }
  expect(await machine.bitmaps("data")).toEqual([]);
});

test("what a killed assessment left is removed by the next, and nothing of another group's or tool's", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  const left = `afterimage-assess:${testGroup}:${testPoint(1)}:short`;
  const foreign = ["weekly", `afterimage-assess:erp2:${testPoint(1)}:short`];
  for (const name of [left, ...foreign]) {
    await machine.qmp.execute("block-dirty-bitmap-add", { node: "data", name });
  }
  {
    await using counter = counterOf(machine.qmpPath, 2);
    const { removed } = await counter.start(["short"], { signal });
    expect(removed).toEqual([`db: bitmap ${left}`]);
  }
  expect(await machine.bitmaps("data")).toEqual([...foreign].sort());
});

test("an assessment and a replicator of the same group leave each other alone", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  await using source = host.source({ db: disks });
  await source.repair({ keep: [], signal });
  await source.track([data, wal], testPoint(1), { signal });
  const ofReplicator = await machine.bitmaps("data");
  {
    await using counter = counterOf(machine.secondQmpPath);
    await counter.start(["short"], { signal });
    await machine.io("data", "write -P 7 1M 64k");
    const since = new Map([data, wal].map((disk) => [disk, testPoint(1)]));
    expect(await source.dirtyBytes({ since, signal })).toBe(block);
    await source.repair({ keep: [testPoint(1)], signal });
    await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
    expect(await counts(counter)).toEqual([
      [data, { short: block }],
      [wal, { short: 0 }],
    ]);
    await counter.restart("short", { signal });
    await machine.io("data", "write -P 7 1M 64k");
    await snapshot.release();
    expect((await counts(counter))[0]).toEqual([data, { short: block }]);
  }
  expect(await machine.bitmaps("data")).toEqual(ofReplicator);
});

test("a machine that ended and started again is left out for one look, and counted from there", async () => {
  let machine = await startTestMachine(host, "db", disks);
  await using counter = counterOf(machine.qmpPath);
  await counter.start(["short"], { signal });
  await machine.io("data", "write -P 7 1M 64k");
  await machine.quit();
  expect(await counts(counter)).toEqual([]);
  await counter.restart("short", { signal });
  machine = await startTestMachine(host, "db", disks);
  expect(await counts(counter)).toEqual([]);
  await machine.io("data", "write -P 7 1M 64k");
  expect(await counts(counter)).toEqual([
    [data, { short: block }],
    [wal, { short: 0 }],
  ]);
  await machine.quit();
});

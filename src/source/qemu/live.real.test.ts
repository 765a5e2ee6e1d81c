import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import type { Source } from "../../core/source.ts";
import {
  diskName,
  extentsOf,
  type Guest,
  testSignal as signal,
  type TestHost,
  testHost,
  testPoint,
} from "./test-guest.ts";

const disks = [
  { name: "data", sizeBytes: 64 * MIB },
  { name: "wal", sizeBytes: 16 * MIB },
];
const names = [diskName("db/data"), diskName("db/wal")];
const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);

let host: TestHost;
let guest: Guest;
let source: Source;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
  guest = await host.start("db", disks);
  source = host.source({ db: disks });
});
afterEach(async () => {
  await source[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

test("a point shows exactly the blocks that changed before it, as they were", async () => {
  await source.repair({ keep: [], signal });
  await source.track(names, testPoint(1), { signal });
  const since = new Map(names.map((name) => [name, testPoint(1)]));
  await guest.disk("data").write(3 * blockSizeBytes, block(7));
  await guest.disk("wal").write(100, block(5).subarray(0, 1000));
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await guest.disk("data").write(3 * blockSizeBytes, block(8));
  await guest.disk("data").write(9 * blockSizeBytes, block(8));
  expect(await extentsOf(snapshot, "db/data")).toEqual([
    { offsetBytes: 3 * blockSizeBytes, lengthBytes: blockSizeBytes, state: "data" },
  ]);
  expect(await extentsOf(snapshot, "db/wal")).toEqual([
    { offsetBytes: 0, lengthBytes: blockSizeBytes, state: "data" },
  ]);
  const into = block(0);
  await snapshot.read(names[0]!, 3 * blockSizeBytes, into);
  expect(into).toEqual(block(7));
  await snapshot.release();
  await snapshot.forget();
  expect(await guest.bitmaps("data")).toEqual([`afterimage:erp:${testPoint(2)}:${64 * MIB}`]);
});

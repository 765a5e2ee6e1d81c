import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import type { PointId } from "../../core/ids.ts";
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

const run = promisify(execFile);
const disks = [
  { name: "data", sizeBytes: 64 * MIB },
  { name: "wal", sizeBytes: 16 * MIB },
];
const names = [diskName("db/data"), diskName("db/wal")];
const [data] = names as [(typeof names)[0]];
const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);
const sincePoint = (id: PointId) => new Map(names.map((name) => [name, id]));

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

async function tracked(from = source) {
  await from.repair({ keep: [], signal });
  await from.track(names, testPoint(1), { signal });
  return sincePoint(testPoint(1));
}

test("bitmaps, exports, nodes and files of others are untouched by a whole cycle, repair and the end", async () => {
  const since = await tracked();
  const foreign = { node: "data", name: "weekly", persistent: true };
  await guest.qmp.execute("block-dirty-bitmap-add", foreign);
  const other = { type: "nbd", id: "other", "node-name": "wal", name: "other" };
  await guest.qmp.execute("block-export-add", other);
  await guest.qmp.execute("blockdev-add", {
    driver: "null-co",
    "node-name": "afterimage-of-another",
    "read-zeroes": true,
  });
  const snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await snapshot.forget();
  await snapshot[Symbol.asyncDispose]();
  await source.repair({ keep: [testPoint(2)], signal });
  await source[Symbol.asyncDispose]();
  expect(await guest.bitmaps("data")).toContain("weekly");
  expect(await guest.nodeNames()).toContain("afterimage-of-another");
  const exports = (await guest.qmp.execute("query-block-exports")) as readonly { id: string }[];
  expect(exports.map(({ id }) => id).sort()).toEqual(["guest-data", "guest-wal", "other"]);
  const scratch = await readdir(host.scratchDirectory);
  expect(scratch.filter((name) => name.endsWith(".qcow2"))).toEqual([]);
});

test("scratch that runs out loses the point, before the guest is hurt, and leaves only the from-point's bitmap", async () => {
  await source[Symbol.asyncDispose]();
  source = host.source({ db: disks }, { capBytes: 12 * MIB });
  const since = await tracked();
  const filler = new Uint8Array(32 * MIB).fill(1);
  await guest.disk("data").write(0, filler);
  const snapshot = await source.freeze({ id: testPoint(2), since, signal });
  const lost = new Promise<void>((resolve) =>
    snapshot.lost.addEventListener("abort", () => resolve(), { once: true }),
  );
  for (let index = 0; index < 512; index += 1) {
    await guest.disk("data").write(index * blockSizeBytes, block(2));
  }
  await lost;
  expect(snapshot.lost.reason).toMatchObject({ code: "SCRATCH_FULL", details: { disk: data } });
  // It is dropped at once, not when its reader comes round to dispose it.
  while ((await guest.nodeNames()).some((name) => name.startsWith("afterimage"))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expect(snapshot.read(data, 0, block(0))).rejects.toMatchObject({ code: "SCRATCH_FULL" });
  // Its own bitmap is gone: whoever would seal it now would have nothing to count from.
  await expect(snapshot.release()).rejects.toMatchObject({ code: "SCRATCH_FULL" });
  await snapshot[Symbol.asyncDispose]();
  expect(await guest.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`,
  ]);
  expect((await guest.nodeNames()).filter((name) => name.startsWith("afterimage"))).toEqual([]);
  await using again = await source.freeze({ id: testPoint(3), since, signal });
  expect(await extentsOf(again, "db/data")).toEqual([
    { offsetBytes: 0, lengthBytes: 512 * blockSizeBytes, state: "data" },
  ]);
});

test("scratch is allocated in full before the freeze, and still after the guest has used some", async () => {
  await source[Symbol.asyncDispose]();
  source = host.source({ db: disks }, { capBytes: 24 * MIB });
  const since = await tracked();
  for (const number of [2, 3]) {
    await using _snapshot = await source.freeze({ id: testPoint(number), since, signal });
    await guest.disk("data").write(0, block(number));
    const { stdout } = await run("du", ["-sk", host.scratchDirectory]);
    expect(Number.parseInt(stdout, 10) * 1024).toBeGreaterThanOrEqual(24 * MIB);
  }
});

test("a cap that does not fit on the file system is refused before anything is frozen", async () => {
  await source[Symbol.asyncDispose]();
  const big = [{ name: "data", sizeBytes: 64 * MIB }];
  const files = { ...(await import("../../base/node-file-system.ts")).nodeFileSystem() };
  source = host.source({ db: big }, { files: { ...files, freeBytes: async () => MIB } });
  await source.track([data], testPoint(1), { signal });
  const since = new Map([[data, testPoint(1)]]);
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "STORAGE_FULL" });
  expect(await guest.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`,
  ]);
});

test("a point whose job or export somebody ends is lost", async () => {
  const since = await tracked();
  for (const [number, end] of [
    [2, async (id: string) => guest.qmp.execute("block-job-cancel", { device: id })],
    [3, async (id: string) => guest.qmp.execute("block-export-del", { id, mode: "hard" })],
  ] as const) {
    await using snapshot = await source.freeze({ id: testPoint(number), since, signal });
    const query = number === 2 ? "query-jobs" : "query-block-exports";
    const found = (await guest.qmp.execute(query)) as readonly { id: string }[];
    const own = found.find(({ id }) => id.startsWith("afterimage"));
    const lost = new Promise<void>((resolve) =>
      snapshot.lost.addEventListener("abort", () => resolve(), { once: true }),
    );
    await end(own?.id ?? "");
    await lost;
    expect(snapshot.lost.reason).toMatchObject({ code: "QMP_REFUSED" });
  }
  await using again = await source.freeze({ id: testPoint(4), since, signal });
  expect(again.lost.aborted).toBe(false);
});

test("a point that lost its connection is removed before its scratch is used again", async () => {
  await source[Symbol.asyncDispose]();
  const atReserve: string[][] = [];
  source = host.source(
    { db: disks },
    {
      onPhase: async (phase) => {
        if (phase !== "reserve") return;
        atReserve.push((await guest.nodeNames()).filter((name) => name.startsWith("afterimage")));
      },
    },
  );
  const since = await tracked();
  await guest.disk("data").write(0, block(1));
  const lost = await source.freeze({ id: testPoint(2), since, signal });
  guest.dropSourceConnection();
  await guest.disk("data").write(0, block(2));
  await lost[Symbol.asyncDispose]();
  // Without a repair in between, as a caller that only tries again would do.
  await using snapshot = await source.freeze({ id: testPoint(3), since, signal });
  expect(atReserve).toEqual([[], []]);
  const into = block(0);
  await snapshot.read(data, 0, into);
  expect(into).toEqual(block(2));
});

test("what a point given up had kept of the past is not in the next one", async () => {
  const since = await tracked();
  const released = await source.freeze({ id: testPoint(2), since, signal });
  await released.forget();
  const next = sincePoint(testPoint(2));
  await guest.disk("data").write(0, block(1));
  {
    await using _givenUp = await source.freeze({ id: testPoint(3), since: next, signal });
    await guest.disk("data").write(0, block(2));
  }
  await using snapshot = await source.freeze({ id: testPoint(4), since: next, signal });
  const into = block(0);
  await snapshot.read(data, 0, into);
  expect(into).toEqual(block(2));
});

test("a cycle that follows another sends these commands and no other", async () => {
  await source[Symbol.asyncDispose]();
  const sent: string[] = [];
  source = host.source({ db: disks }, { onCommand: ({ execute }) => sent.push(execute) });
  await tracked();
  for (const number of [2, 3, 4]) {
    const since = sincePoint(testPoint(number - 1));
    sent.length = 0;
    await using snapshot = await source.freeze({ id: testPoint(number), since, signal });
    for (const name of names) expect(await extentsOf(snapshot, name)).toEqual([]);
    await snapshot.forget();
  }
  const each = (command: string) => names.map(() => command);
  expect(sent).toEqual([
    ...each("blockdev-add"),
    "transaction",
    ...each("block-export-add"),
    ...["query-named-block-nodes", "query-block"],
    ...each("block-export-del"),
    ...each("block-job-cancel"),
    ...each("blockdev-del"),
    ...each("block-dirty-bitmap-remove"),
    ...each("block-dirty-bitmap-remove"),
    "query-named-block-nodes",
  ]);
});

test("a freeze that QEMU refuses on one disk leaves no trace on any", async () => {
  const since = await tracked();
  // Another tool's job on one disk: QEMU allows no point in time beside it.
  await guest.qmp.execute("blockdev-add", {
    driver: "null-co",
    "node-name": "elsewhere",
    size: 16 * MIB,
  });
  const job = { "job-id": "theirs", device: "wal", target: "elsewhere", sync: "none" };
  await guest.qmp.execute("blockdev-mirror", job);
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "QMP_REFUSED" });
  expect(await guest.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`,
  ]);
  expect(await guest.bitmaps("wal")).toEqual([`afterimage:erp:${testPoint(1)}:${16 * MIB}:db/wal`]);
  expect((await guest.nodeNames()).filter((name) => name.startsWith("afterimage"))).toEqual([]);
  const jobs = (await guest.qmp.execute("query-jobs")) as readonly { id: string }[];
  expect(jobs.map(({ id }) => id)).toEqual(["theirs"]);
});

test("a bitmap that somebody stopped has missed writes and is not trusted", async () => {
  const since = await tracked();
  const name = `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`;
  await guest.qmp.execute("block-dirty-bitmap-disable", { node: "data", name });
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "BITMAP_LOST", details: { disk: data } });
  const { disks: found } = await source.repair({ keep: [testPoint(1)], signal });
  expect(found[0]).toMatchObject({ state: "untracked" });
  expect(await guest.bitmaps("data")).toEqual([]);
});

test("a freeze that is stopped while QEMU carries it out is undone", async () => {
  const since = await tracked();
  await source[Symbol.asyncDispose]();
  const controller = new AbortController();
  source = host.source(
    { db: disks },
    { onPhase: (phase) => (phase === "sent" ? controller.abort() : undefined) },
  );
  const freezing = source.freeze({ id: testPoint(2), since, signal: controller.signal });
  await expect(freezing).rejects.toMatchObject({ code: "ABORTED" });
  expect(await guest.bitmaps("data")).toEqual([
    `afterimage:erp:${testPoint(1)}:${64 * MIB}:db/data`,
  ]);
  expect((await guest.nodeNames()).filter((name) => name.startsWith("afterimage"))).toEqual([]);
  await using again = await source.freeze({ id: testPoint(3), since, signal });
  expect(again.lost.aborted).toBe(false);
});

test("a QEMU that goes while a freeze is under way fails it, with nothing thrown later", async () => {
  const since = await tracked();
  await source[Symbol.asyncDispose]();
  source = host.source(
    { db: disks },
    { onPhase: (phase) => (phase === "sent" ? guest.kill() : undefined) },
  );
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "QMP_CLOSED" });
});

test("a raw image needs to be allowed, and is then tracked while QEMU runs", async () => {
  const raw = [{ name: "raw", sizeBytes: 8 * MIB, format: "raw" as const }];
  await host.createImages("app", raw);
  let app = await host.start("app", raw);
  const machine = { app: raw };
  const rawName = diskName("app/raw");
  {
    await using strict = host.source({ app: [{ name: "raw", sizeBytes: 8 * MIB }] });
    await expect(strict.repair({ keep: [], signal })).rejects.toMatchObject({
      code: "DISK_UNSUPPORTED",
      details: { disk: rawName },
    });
  }
  await using transient = host.source(machine);
  expect(transient.traits.tracker).toBe("while-running");
  await transient.track([rawName], testPoint(1), { signal });
  await app.disk("raw").write(100, block(1).subarray(0, 10));
  const since = new Map([[rawName, testPoint(1)]]);
  {
    await using snapshot = await transient.freeze({ id: testPoint(2), since, signal });
    await app.disk("raw").write(0, block(9));
    const into = block(0);
    await snapshot.read(rawName, 0, into);
    expect(into).toEqual(new Uint8Array(blockSizeBytes).fill(1, 100, 110));
    expect(await extentsOf(snapshot, "app/raw")).toEqual([
      { offsetBytes: 0, lengthBytes: blockSizeBytes, state: "data" },
    ]);
  }
  await app.quit();
  app = await host.start("app", raw);
  const { disks: found } = await transient.repair({ keep: [testPoint(1)], signal });
  expect(found[0]).toMatchObject({ state: "untracked" });
  expect(found[0]?.state === "untracked" && found[0].cause).toMatch(/only while QEMU ran/);
});

test("a disk that QEMU does not have is named", async () => {
  await using wrong = host.source({ db: [{ name: "temp", sizeBytes: MIB }] });
  await expect(wrong.repair({ keep: [], signal })).rejects.toMatchObject({
    code: "DISK_MISSING",
    details: { disk: "db/temp" },
  });
});

test("a second client on the QMP socket is told that the first has it, within the bound", async () => {
  await tracked();
  await using second = host.source({ db: disks });
  await expect(second.repair({ keep: [], signal })).rejects.toMatchObject({ code: "QMP_BUSY" });
});

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Extent } from "../core/extent.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { countingContract } from "./counting-contract.ts";
import { owedContract } from "./owed-contract.ts";
import {
  block,
  dirtyBlocks,
  type Get,
  point,
  readBlock,
  type SourceHarness,
  signal,
  sinceOf,
  tracked,
} from "./source-harness.ts";

export type { SourceHarness } from "./source-harness.ts";

/** What every implementation of `Source` has to do; called at the top of a test file. */
export function sourceContract(name: string, makeHarness: () => Promise<SourceHarness>): void {
  describe(`${name} as a source`, () => {
    let harness: SourceHarness;
    beforeEach(async () => {
      harness = await makeHarness();
    });
    afterEach(() => harness[Symbol.asyncDispose]());
    snapshotContract(() => harness);
    recordingContract(() => harness);
    repairContract(() => harness);
    owedContract(() => harness);
    countingContract(() => harness);
  });
}

function snapshotContract(get: Get): void {
  test("a point shows exactly the blocks that changed before it, as they were", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 3 * blockSizeBytes + 512, block(7).subarray(0, 512));
    await harness.write(wal, 0, block(5));
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    await harness.write(data, 3 * blockSizeBytes, block(8));
    await harness.write(data, 9 * blockSizeBytes, block(8));
    expect(await dirtyBlocks(snapshot, data)).toEqual(["3+1 data"]);
    expect(await dirtyBlocks(snapshot, wal)).toEqual(["0+1 data"]);
    const expected = block(0);
    expected.fill(7, 512, 1024);
    expect(await readBlock(snapshot, data, 3)).toEqual(expected);
    expect(await readBlock(snapshot, data, 9)).toEqual(block(0));
    expect(await readBlock(snapshot, wal, 0)).toEqual(block(5));
  });

  test("what the guest trimmed is changed and reads as zeroes", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 4 * blockSizeBytes, block(7));
    await harness.write(data, 5 * blockSizeBytes, block(7));
    await harness.write(data, 6 * blockSizeBytes, block(7));
    await harness.trim(data, 5 * blockSizeBytes, blockSizeBytes);
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["4+1 data", "5+1 zero", "6+1 data"]);
    expect(await readBlock(snapshot, data, 5)).toEqual(block(0));
  });

  test("a trim after the instant does not reach the point", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 2 * blockSizeBytes, block(7));
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    await harness.trim(data, 2 * blockSizeBytes, blockSizeBytes);
    expect(await dirtyBlocks(snapshot, data)).toEqual(["2+1 data"]);
    expect(await readBlock(snapshot, data, 2)).toEqual(block(7));
  });

  test("an instant lies between its bounds, and disks and machines are named", async () => {
    const harness = get();
    const since = await tracked(harness);
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    expect(snapshot.instant.lowerMs).toBeLessThanOrEqual(snapshot.instant.upperMs);
    expect(snapshot.disks.map(({ name }) => name)).toEqual([...harness.disks]);
    expect(snapshot.id).toBe(point(2));
    expect(snapshot.machines).toHaveLength(1);
    expect(snapshot.lost.aborted).toBe(false);
  });

  test("a point given up leaves the bitmap of its from-point and nothing else", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    const before = await harness.bitmaps(data);
    await harness.write(data, 0, block(1));
    {
      await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
      await snapshot.read(data, 0, block(0));
    }
    expect(await harness.bitmaps(data)).toEqual(before);
    expect(await harness.leftovers()).toEqual([]);
    await harness.write(data, blockSizeBytes, block(1));
    await using again = await harness.source.freeze({ id: point(3), since, signal });
    expect(await dirtyBlocks(again, data)).toEqual(["0+2 data"]);
  });

  test("a point given up after its release keeps what it had counted", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    const before = await harness.bitmaps(data);
    await harness.write(data, 0, block(1));
    {
      await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
      await snapshot.release();
      await snapshot.release();
      expect(await harness.leftovers()).toEqual([]);
    }
    expect(await harness.bitmaps(data)).toEqual(before);
    await using again = await harness.source.freeze({ id: point(3), since, signal });
    expect(await dirtyBlocks(again, data)).toEqual(["0+1 data"]);
  });

  test("a forgotten point leaves its own bitmap, with what was written meanwhile", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    {
      await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
      await harness.write(data, blockSizeBytes, block(1));
      await snapshot.forget();
      await snapshot.forget();
    }
    expect(await harness.bitmaps(data)).toHaveLength(1);
    expect(await harness.leftovers()).toEqual([]);
    const next = sinceOf(harness, 2);
    await using snapshot = await harness.source.freeze({ id: point(3), since: next, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["1+1 data"]);
  });

  test("a freeze that was stopped before it began leaves nothing", async () => {
    const harness = get();
    const since = await tracked(harness);
    const before = await harness.bitmaps(harness.disks[0]);
    const stopped = AbortSignal.abort();
    const freezing = harness.source.freeze({ id: point(2), since, signal: stopped });
    await expect(freezing).rejects.toThrow();
    expect(await harness.bitmaps(harness.disks[0])).toEqual(before);
    expect(await harness.leftovers()).toEqual([]);
  });
}

function recordingContract(get: Get): void {
  test("tracking twice under one id keeps what the first has recorded", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    await harness.source.track(harness.disks, point(1), { signal });
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["0+1 data"]);
  });

  test("disks may count from different points", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    await tracked(harness);
    await harness.write(data, 0, block(1));
    await harness.write(wal, 0, block(1));
    await harness.source.track([wal], point(9), { signal });
    const since = new Map([
      [data, point(1)],
      [wal, point(9)],
    ]);
    await using snapshot = await harness.source.freeze({ id: point(10), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["0+1 data"]);
    expect(await dirtyBlocks(snapshot, wal)).toEqual([]);
  });

  test("a bitmap removed behind our back fails the freeze with the disk's name, on no disk a trace", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    const since = await tracked(harness);
    const before = await harness.bitmaps(data);
    await harness.removeBitmaps(wal);
    const freezing = harness.source.freeze({ id: point(2), since, signal });
    await expect(freezing).rejects.toMatchObject({ code: "BITMAP_LOST", details: { disk: wal } });
    expect(await harness.bitmaps(data)).toEqual(before);
    expect(await harness.bitmaps(wal)).toEqual([]);
    expect(await harness.leftovers()).toEqual([]);
  });

  test("a live disk shows what is data and what is zero, and reads", async () => {
    const harness = get();
    const [data] = harness.disks;
    await tracked(harness);
    await harness.write(data, 2 * blockSizeBytes, block(3));
    await using live = await harness.source.openLive(data, { signal });
    const extents: Extent[] = [];
    for await (const extent of live.extents(0, 4 * blockSizeBytes)) extents.push(extent);
    expect(extents).toEqual([
      { offsetBytes: 0, lengthBytes: 2 * blockSizeBytes, state: "zero" },
      { offsetBytes: 2 * blockSizeBytes, lengthBytes: blockSizeBytes, state: "data" },
      { offsetBytes: 3 * blockSizeBytes, lengthBytes: blockSizeBytes, state: "zero" },
    ]);
    const into = block(0);
    await live.read(2 * blockSizeBytes, into);
    expect(into).toEqual(block(3));
    expect(live.sizeBytes).toBeGreaterThanOrEqual(16 * blockSizeBytes);
  });
}

function repairContract(get: Get): void {
  test("repair keeps the head's bitmap and removes every other of ours, and none of another's", async () => {
    const harness = get();
    const [data] = harness.disks;
    await tracked(harness);
    await harness.source.track(harness.disks, point(5), { signal });
    const kept = (await harness.bitmaps(data)).filter((name) => name.includes(point(5)));
    const foreign = [
      "weekly",
      `afterimage:other:${point(1)}:1048576`,
      `afterimage:erp2:${point(1)}:frozen`,
      "afterimage:erp",
    ];
    for (const name of foreign) await harness.addBitmap(data, name);
    const report = await harness.source.repair({ keep: [point(5)], signal });
    expect([...(await harness.bitmaps(data))].sort()).toEqual([...kept, ...foreign].sort());
    expect(report.disks).toMatchObject([
      { state: "tracked", since: point(5), kept: [point(5)] },
      { state: "tracked", since: point(5), kept: [point(5)] },
    ]);
    expect(report.removed).not.toEqual([]);
    expect((await harness.source.repair({ keep: [point(5)], signal })).removed).toEqual([]);
  });

  test("of several kept points a disk counts from the first that it has", async () => {
    const harness = get();
    await tracked(harness);
    await harness.source.track([harness.disks[1]], point(2), { signal });
    const { disks } = await harness.source.repair({ keep: [point(2), point(1)], signal });
    expect(disks.map((disk) => disk.state === "tracked" && disk.since)).toEqual([
      point(1),
      point(2),
    ]);
  });

  test("a disk without the wanted bitmap is untracked, with a cause", async () => {
    const harness = get();
    await tracked(harness);
    await harness.removeBitmaps(harness.disks[1]);
    const { disks } = await harness.source.repair({ keep: [point(1)], signal });
    expect(disks.map(({ state }) => state)).toEqual(["tracked", "untracked"]);
    const [, lost] = disks;
    expect(lost?.state === "untracked" && lost.cause).toMatch(/\w+ \w+/);
  });

  test("our death in the middle of a point costs no change, and repair leaves nothing of it", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    await harness.source.freeze({ id: point(2), since, signal });
    await harness.write(data, blockSizeBytes, block(1));
    const source = await harness.reborn();
    const { disks } = await source.repair({ keep: [point(1)], signal });
    expect(disks.map(({ state }) => state)).toEqual(["tracked", "tracked"]);
    expect(await harness.leftovers()).toEqual([]);
    expect(await harness.bitmaps(data)).toHaveLength(1);
    await using snapshot = await source.freeze({ id: point(3), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["0+2 data"]);
  });

  test("our death between seal and forget goes on from the new point", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    const unforgotten = await harness.source.freeze({ id: point(2), since, signal });
    await unforgotten.release();
    await harness.write(data, blockSizeBytes, block(1));
    const source = await harness.reborn();
    const { disks } = await source.repair({ keep: [point(2)], signal });
    expect(disks).toMatchObject([{ since: point(2) }, { since: point(2) }]);
    expect(await harness.bitmaps(data)).toHaveLength(1);
    const next = sinceOf(harness, 2);
    await using snapshot = await source.freeze({ id: point(3), since: next, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["1+1 data"]);
  });

  test("a machine that ended in order and started again is still tracked", async ({ skip }) => {
    const harness = get();
    if (harness.restart === null) return skip();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    await harness.restart();
    await harness.write(data, blockSizeBytes, block(1));
    const { disks } = await harness.source.repair({ keep: [point(1)], signal });
    expect(disks.map(({ state }) => state)).toEqual(["tracked", "tracked"]);
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual(["0+2 data"]);
  });

  test("a machine that was killed is untracked, with a cause, and can be tracked again", async ({
    skip,
  }) => {
    const harness = get();
    if (harness.crash === null) return skip();
    const [data] = harness.disks;
    await tracked(harness);
    if (harness.restart) await harness.restart(); // The bitmaps are in the images now.
    await harness.write(data, 0, block(1));
    await harness.crash();
    const { disks } = await harness.source.repair({ keep: [point(1)], signal });
    expect(disks.map(({ state }) => state)).toEqual(["untracked", "untracked"]);
    expect(await harness.bitmaps(data)).toEqual([]);
    await harness.source.track(harness.disks, point(7), { signal });
    const since = sinceOf(harness, 7);
    await using snapshot = await harness.source.freeze({ id: point(8), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual([]);
  });

  test("a point is lost when its machine dies, and giving it up does not fail", async ({
    skip,
  }) => {
    const harness = get();
    if (harness.crash === null) return skip();
    const since = await tracked(harness);
    {
      await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
      await harness.crash();
      while (!snapshot.lost.aborted) await new Promise((resolve) => setImmediate(resolve));
      await expect(snapshot.read(harness.disks[0], 0, block(0))).rejects.toMatchObject({
        code: "QMP_CLOSED",
      });
    }
    const { disks } = await harness.source.repair({ keep: [point(1)], signal });
    expect(disks.map(({ state }) => state)).toEqual(["untracked", "untracked"]);
    expect(await harness.leftovers()).toEqual([]);
  });
}

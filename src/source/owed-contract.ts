import { expect, test } from "vitest";
import type { DiskName, PointId } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { Source } from "../core/source.ts";
import { block, dirtyBlocks, type Get, point, signal, sinceOf, tracked } from "./source-harness.ts";

/** What holds while points wait in a spool: the first one's bitmap stays, though others count from later ones. */
export function owedContract(get: Get): void {
  test("after several cuts the kept bitmap has the union of all of them", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    await tracked(harness);
    for (const cut of [2, 3, 4]) {
      await harness.write(data, cut * blockSizeBytes, block(cut));
      const since = sinceOf(harness, cut - 1);
      await using snapshot = await harness.source.freeze({ id: point(cut), since, signal });
      expect(await dirtyBlocks(snapshot, data)).toEqual([`${cut}+1 data`]);
      await snapshot.forget({ keep: point(1) });
      await snapshot.forget({ keep: point(1) });
      expect(await harness.leftovers()).toEqual([]);
      expect(await harness.bitmaps(data)).toHaveLength(2);
    }
    await harness.write(data, 7 * blockSizeBytes, block(7));
    const newest = sinceOf(harness, 4);
    expect(await dirtySince(harness.source, newest, data)).toEqual(["7+1 data"]);
    const first = sinceOf(harness, 1);
    expect(await dirtySince(harness.source, first, data)).toEqual(["2+3 data", "7+1 data"]);
    expect(await dirtySince(harness.source, first, wal)).toEqual([]);
  });

  test("to keep nothing, or a point that nothing was counted from, lets the from-point go", async () => {
    const harness = get();
    await tracked(harness);
    for (const [cut, keep] of [
      [2, null],
      [3, point(9)],
    ] as const) {
      const since = sinceOf(harness, cut - 1);
      await using snapshot = await harness.source.freeze({ id: point(cut), since, signal });
      await snapshot.forget({ keep });
      const names = await harness.bitmaps(harness.disks[0]);
      expect(names).toEqual([expect.stringContaining(point(cut))]);
    }
  });

  test("a point given up while an older bitmap is kept leaves both that were there", async () => {
    const harness = get();
    const [data] = harness.disks;
    await tracked(harness);
    await harness.source.track(harness.disks, point(2), { signal });
    const before = await harness.bitmaps(data);
    {
      const since = sinceOf(harness, 2);
      await using _snapshot = await harness.source.freeze({ id: point(3), since, signal });
    }
    expect(await harness.bitmaps(data)).toEqual(before);
  });

  test("repair tells which of the kept points each disk has, in the order that they were asked in", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    await tracked(harness);
    await harness.source.track([wal], point(2), { signal });
    const keep = [point(2), point(7), point(1)];
    const { disks, removed } = await harness.source.repair({ keep, signal });
    expect(disks).toMatchObject([
      { disk: { name: data }, since: point(1), kept: [point(1)] },
      { disk: { name: wal }, since: point(2), kept: [point(2), point(1)] },
    ]);
    expect(removed).toEqual([]);
  });

  test("our death with points in the spool keeps both bitmaps, and shipping all of them lets the first go", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    {
      await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
      await snapshot.forget({ keep: point(1) });
    }
    await harness.write(data, blockSizeBytes, block(1));
    const source = await harness.reborn();
    const both = await source.repair({ keep: [point(2), point(1)], signal });
    expect(both.disks[0]).toMatchObject({ since: point(2), kept: [point(2), point(1)] });
    expect(await dirtySince(source, since, data)).toEqual(["0+2 data"]);
    const shipped = await source.repair({ keep: [point(2)], signal });
    expect(shipped.disks[0]).toMatchObject({ since: point(2), kept: [point(2)] });
    expect(await harness.bitmaps(data)).toEqual([expect.stringContaining(point(2))]);
    expect(await dirtySince(source, sinceOf(harness, 2), data)).toEqual(["1+1 data"]);
  });
}

/** What a point would show; it is given up. */
async function dirtySince(
  source: Source,
  since: ReadonlyMap<DiskName, PointId>,
  disk: DiskName,
): Promise<readonly string[]> {
  await using snapshot = await source.freeze({ id: point(99), since, signal });
  return await dirtyBlocks(snapshot, disk);
}

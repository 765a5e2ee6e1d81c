import { expect, test } from "vitest";
import type { DiskName } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { block, type Get, point, signal, sinceOf, tracked } from "./source-harness.ts";

/** What is asked between points, and does not touch any. */
export function countingContract(get: Get): void {
  const dirtyBytes = (number: number) =>
    get().source.dirtyBytes({ since: sinceOf(get(), number), signal });

  test("the dirty count is zero until something is written, and then whole blocks over all disks", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    await tracked(harness);
    expect(await dirtyBytes(1)).toBe(0);
    await harness.write(data, 5 * blockSizeBytes + 512, block(1).subarray(0, 512));
    expect(await dirtyBytes(1)).toBe(blockSizeBytes);
    await harness.write(data, 5 * blockSizeBytes, block(2).subarray(0, 512));
    expect(await dirtyBytes(1)).toBe(blockSizeBytes);
    await harness.write(wal, 0, block(1));
    expect(await dirtyBytes(1)).toBe(2 * blockSizeBytes);
  });

  test("a trim counts as a change", async () => {
    const harness = get();
    const [data] = harness.disks;
    await harness.write(data, 0, block(1));
    await tracked(harness);
    await harness.trim(data, 0, blockSizeBytes);
    expect(await dirtyBytes(1)).toBe(blockSizeBytes);
  });

  test("the count goes on from the new point, also while it is read", async () => {
    const harness = get();
    const [data] = harness.disks;
    const since = await tracked(harness);
    await harness.write(data, 0, block(1));
    await using snapshot = await harness.source.freeze({ id: point(2), since, signal });
    expect(await dirtyBytes(2)).toBe(0);
    expect(await dirtyBytes(1)).toBe(blockSizeBytes);
    await harness.write(data, blockSizeBytes, block(1));
    expect(await dirtyBytes(2)).toBe(blockSizeBytes);
    expect(await dirtyBytes(1)).toBe(2 * blockSizeBytes);
    await snapshot.forget({ keep: point(1) });
    expect(await dirtyBytes(2)).toBe(blockSizeBytes);
    expect(await dirtyBytes(1)).toBe(2 * blockSizeBytes);
  });

  test("each disk is counted from its own point", async () => {
    const harness = get();
    const [data, wal] = harness.disks;
    await tracked(harness);
    for (const disk of harness.disks) await harness.write(disk, 0, block(1));
    await harness.source.track([wal], point(2), { signal });
    const since = new Map<DiskName, ReturnType<typeof point>>([
      [data, point(1)],
      [wal, point(2)],
    ]);
    expect(await harness.source.dirtyBytes({ since, signal })).toBe(blockSizeBytes);
  });

  test("a bitmap that is not there is no zero: the count is not known", async () => {
    const harness = get();
    await tracked(harness);
    expect(await dirtyBytes(7)).toBeNull();
    expect(await dirtyBytes(1)).toBe(0);
    await harness.removeBitmaps(harness.disks[1]);
    expect(await dirtyBytes(1)).toBeNull();
  });

  test("what guests' writes have cost grows with them, where it is told", async ({ skip }) => {
    const harness = get();
    await tracked(harness);
    const before = await harness.source.guestWrites({ signal });
    if (before === null) return skip();
    await harness.write(harness.disks[0], 0, block(1));
    await harness.write(harness.disks[1], 0, block(1));
    const after = await harness.source.guestWrites({ signal });
    expect(after?.operations).toBe(before.operations + 2);
    expect(after?.bytes).toBe(before.bytes + 2 * blockSizeBytes);
    expect(after?.totalTimeNs).toBeGreaterThanOrEqual(before.totalTimeNs);
  });

  test("a pause names the machines it stopped, once, and they stay stopped", async ({ skip }) => {
    const harness = get();
    if (!harness.isPaused) return skip();
    await tracked(harness);
    const machines = harness.disks.map((disk) => disk.slice(0, disk.indexOf("/")));
    expect(await harness.source.pause({ signal })).toEqual([...new Set(machines)]);
    expect(await harness.isPaused()).toBe(true);
    expect(await harness.source.pause({ signal })).toEqual([]);
    expect(await harness.isPaused()).toBe(true);
  });
}

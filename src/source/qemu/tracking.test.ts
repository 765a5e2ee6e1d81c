import { expect, test } from "vitest";
import { type DiskName, type PointId, parseGroupName } from "../../core/ids.ts";
import type { DirtyBitmap } from "../../qemu/block-graph.ts";
import type { PlacedDisk } from "./disk-place.ts";
import { isStale, recordingSince, trackingOf } from "./tracking.ts";

const group = parseGroupName("erp")!;
const one = "0000000000000001" as PointId;
const two = "0000000000000002" as PointId;

function bitmap(name: string, more: Partial<DirtyBitmap> = {}): DirtyBitmap {
  return {
    name,
    isRecording: true,
    isPersistent: true,
    isInconsistent: false,
    isBusy: false,
    granularityBytes: 65_536,
    dirtyBytes: 0,
    ...more,
  };
}

const data = "db/data" as DiskName;

function disk(bitmaps: readonly DirtyBitmap[], isPersistent = true, name = data): PlacedDisk {
  return { name, node: "d0", device: "", sizeBytes: 1024, isPersistent, bitmaps };
}

const ofOne = bitmap(`afterimage:erp:${one}:1024:db/data`);
const ofWal = bitmap(`afterimage:erp:${one}:1024:db/wal`);

test("only a recording, consistent bitmap of the group's point is taken", () => {
  expect(recordingSince(group, disk([ofOne]), one)).toEqual({
    name: ofOne.name,
    id: one,
    sizeBytes: 1024,
  });
  for (const wrong of [
    bitmap(`afterimage:erp:${two}:1024:db/data`),
    bitmap(`afterimage:other:${one}:1024:db/data`),
    ofWal,
    bitmap(`afterimage:erp:${one}:1024`),
    bitmap(`afterimage:erp:${one}:frozen`),
    { ...ofOne, isRecording: false },
    { ...ofOne, isInconsistent: true },
  ]) {
    expect(recordingSince(group, disk([wrong]), one)).toBeNull();
  }
});

test("stale is what is ours and not a good bitmap of a kept point on a disk of the group", () => {
  expect(isStale(group, ofOne, [one], data)).toBe(false);
  expect(isStale(group, ofOne, [two], data)).toBe(true);
  expect(isStale(group, ofOne, [one], null)).toBe(true);
  expect(isStale(group, { ...ofOne, isInconsistent: true }, [one], data)).toBe(true);
  expect(isStale(group, { ...ofOne, isRecording: false }, [one], data)).toBe(true);
  expect(isStale(group, bitmap(`afterimage:erp:${one}:frozen`), [one], data)).toBe(true);
  expect(isStale(group, bitmap(`afterimage:erp2:${one}:frozen`), [], data)).toBe(false);
  expect(isStale(group, bitmap("weekly"), [], data)).toBe(false);
});

test("images of a group that changed places are not counted from each other's bitmaps", () => {
  const wal = disk([ofOne], true, "db/wal" as DiskName);
  expect(recordingSince(group, wal, one)).toBeNull();
  expect(isStale(group, ofOne, [one], wal.name)).toBe(true);
  const tracking = trackingOf(group, disk([]), [one], [ofWal]);
  expect(tracking.state === "untracked" && tracking.cause).toContain("changed places");
});

test.each([
  ["not replicated before", [], [], true],
  ["inconsistent", [one], [{ ...ofOne, isInconsistent: true }], true],
  ["stopped by another tool", [one], [{ ...ofOne, isRecording: false }], true],
  ["another point", [two], [ofOne], true],
  ["missing", [one], [], true],
  ["missing", [one], [bitmap("weekly")], true],
  ["only while QEMU ran", [one], [], false],
] as const)("an untracked disk says why: %s", (words, keep, before, isPersistent) => {
  const tracking = trackingOf(group, disk([], isPersistent), keep, before);
  expect(tracking).toMatchObject({ state: "untracked", disk: { name: "db/data" } });
  expect(tracking.state === "untracked" && tracking.cause).toContain(words);
});

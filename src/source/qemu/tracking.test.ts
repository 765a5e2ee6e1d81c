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

function disk(bitmaps: readonly DirtyBitmap[], isPersistent = true): PlacedDisk {
  const name = "db/data" as DiskName;
  return { name, node: "d0", device: "", sizeBytes: 1024, isPersistent, bitmaps };
}

const ofOne = bitmap(`afterimage:erp:${one}:1024`);

test("only a recording, consistent bitmap of the group's point is taken", () => {
  expect(recordingSince(group, disk([ofOne]), one)).toEqual({
    name: ofOne.name,
    id: one,
    sizeBytes: 1024,
  });
  for (const wrong of [
    bitmap(`afterimage:erp:${two}:1024`),
    bitmap(`afterimage:other:${one}:1024`),
    bitmap(`afterimage:erp:${one}:frozen`),
    { ...ofOne, isRecording: false },
    { ...ofOne, isInconsistent: true },
  ]) {
    expect(recordingSince(group, disk([wrong]), one)).toBeNull();
  }
});

test("stale is what is ours and not a good bitmap of a kept point on a disk of the group", () => {
  expect(isStale(group, ofOne, [one], true)).toBe(false);
  expect(isStale(group, ofOne, [two], true)).toBe(true);
  expect(isStale(group, ofOne, [one], false)).toBe(true);
  expect(isStale(group, { ...ofOne, isInconsistent: true }, [one], true)).toBe(true);
  expect(isStale(group, { ...ofOne, isRecording: false }, [one], true)).toBe(true);
  expect(isStale(group, bitmap(`afterimage:erp:${one}:frozen`), [one], true)).toBe(true);
  expect(isStale(group, bitmap(`afterimage:erp2:${one}:frozen`), [], true)).toBe(false);
  expect(isStale(group, bitmap("weekly"), [], true)).toBe(false);
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

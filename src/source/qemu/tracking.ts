import type { DiskName, GroupName, PointId } from "../../core/ids.ts";
import type { DiskTracking } from "../../core/source.ts";
import { parseBitmapName } from "../../qemu/bitmap-name.ts";
import type { DirtyBitmap } from "../../qemu/block-graph.ts";
import type { PlacedDisk } from "./disk-place.ts";

/** A bitmap of the group that records since a point. */
export interface RecordingBitmap {
  readonly name: string;
  readonly id: PointId;
  /** The disk's size at the point. */
  readonly sizeBytes: number;
}

/** Whether a bitmap's word can be taken: one that stopped recording has missed writes, whoever stopped it. */
export function isGood(bitmap: DirtyBitmap): boolean {
  return bitmap.isRecording && !bitmap.isInconsistent;
}

/** The good bitmap on the disk that records since `id`, or null. */
export function recordingSince(
  group: GroupName,
  disk: PlacedDisk,
  id: PointId,
): RecordingBitmap | null {
  for (const bitmap of disk.bitmaps) {
    const name = parseBitmapName(bitmap.name);
    if (name?.group !== group || name.id !== id || name.sizeBytes === "frozen") continue;
    if (name.disk !== disk.name) continue; // Another disk's image stands in its place.
    if (isGood(bitmap)) return { name: bitmap.name, id, sizeBytes: name.sizeBytes };
  }
  return null;
}

/**
 * Whether `repair` removes the bitmap: ours, and not a good one of a kept point on its own disk; `disk` is null on a node that is no
 * disk of the group. Never another group's or tool's.
 */
export function isStale(
  group: GroupName,
  bitmap: DirtyBitmap,
  keep: readonly PointId[],
  disk: DiskName | null,
): boolean {
  const name = parseBitmapName(bitmap.name);
  if (name?.group !== group) return false;
  if (name.sizeBytes === "frozen" || disk === null || name.disk !== disk) return true;
  return !keep.includes(name.id) || !isGood(bitmap);
}

/** How a disk stands; `before` is what was on it before the stale ones were removed. */
export function trackingOf(
  group: GroupName,
  disk: PlacedDisk,
  keep: readonly PointId[],
  before: readonly DirtyBitmap[],
): DiskTracking {
  const found = { name: disk.name, sizeBytes: disk.sizeBytes };
  const kept = keep.filter((id) => recordingSince(group, disk, id) !== null);
  const [since] = kept;
  if (since !== undefined) return { disk: found, state: "tracked", since, kept };
  return { disk: found, state: "untracked", cause: causeOf(group, disk, keep, before) };
}

function causeOf(
  group: GroupName,
  { name, isPersistent }: { readonly name: DiskName; readonly isPersistent: boolean },
  keep: readonly PointId[],
  before: readonly DirtyBitmap[],
): string {
  if (keep.length === 0) return `${name} was not replicated before`;
  const ours = before.flatMap((bitmap) => {
    const parsed = parseBitmapName(bitmap.name);
    return parsed?.group === group && parsed.sizeBytes !== "frozen" ? [{ bitmap, parsed }] : [];
  });
  const wanted = ours.find(({ parsed }) => keep.includes(parsed.id) && parsed.disk === name);
  if (wanted?.bitmap.isInconsistent) {
    return `the bitmap of ${name} is inconsistent: QEMU or its host ended without storing it`;
  }
  if (wanted) return `the bitmap of ${name} was stopped by another tool and has missed writes`;
  const other = ours.find(({ parsed }) => parsed.disk !== name);
  if (other) {
    return `${name} bears the bitmap of ${other.parsed.disk ?? "another disk"}: images changed places, or one was copied`;
  }
  if (ours.length > 0) {
    return `${name} bears the bitmap of another point: its image was restored or copied`;
  }
  if (!isPersistent) return `the bitmap of ${name} lived only while QEMU ran, and QEMU has ended`;
  return `the bitmap of ${name} is missing: QEMU was killed before it was stored, or it was removed`;
}

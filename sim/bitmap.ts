import type { DiskName, GroupName, PointId } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { DiskImage } from "./disk-image.ts";

/** A dirty bitmap as QEMU keeps one: bits are blocks. */
export interface Bitmap {
  readonly name: string;
  readonly isPersistent: boolean;
  isRecording: boolean;
  /** Its QEMU died without writing it: good for nothing but removal. */
  isInconsistent: boolean;
  /** Written into the image at a clean stop. One that never was is missing after a kill. */
  isStored: boolean;
  readonly dirty: Set<number>;
  /** The disk's when the bitmap was made: our bitmaps' names carry it. */
  readonly sizeBytes: number;
}

export function makeBitmap(
  name: string,
  options: {
    isPersistent: boolean;
    isRecording: boolean;
    sizeBytes: number;
    dirty?: Iterable<number>;
  },
): Bitmap {
  return {
    name,
    sizeBytes: options.sizeBytes,
    isPersistent: options.isPersistent,
    isRecording: options.isRecording,
    isInconsistent: false,
    isStored: false,
    dirty: new Set(options.dirty ?? []),
  };
}

export function copyBitmap(bitmap: Bitmap): Bitmap {
  return { ...bitmap, dirty: new Set(bitmap.dirty) };
}

/**
 * Blocks that differ, or may, from when the bitmap was made. It calls a grown tail clean, as QEMU does; that the disk grew shows
 * by the size then. A disk cut and grown again leaves no trace.
 */
export function changedBlocks(bitmap: Bitmap, disk: DiskImage): readonly number[] {
  const changed = new Set(bitmap.dirty);
  if (bitmap.sizeBytes < disk.sizeBytes) {
    const first = Math.floor(bitmap.sizeBytes / blockSizeBytes);
    for (let block = first; block < disk.blockCount; block += 1) changed.add(block);
  }
  return [...changed].sort((left, right) => left - right);
}

const prefix = "afterimage:";
const frozenSuffix = ":frozen";

/**
 * The bitmap that records from the point's instant on. Named after the disk too: an image that is copied over another disk
 * of the group brings a bitmap of the same point, which says nothing about that disk.
 */
export function bitmapName(group: GroupName, point: PointId, disk: DiskName): string {
  return `${prefix}${group}:${point}:${disk}`;
}

/** The disabled copy that says what to read for the point. */
export function frozenBitmapName(group: GroupName, point: PointId, disk: DiskName): string {
  return `${bitmapName(group, point, disk)}${frozenSuffix}`;
}

/** Whether a bitmap is ours and this group's. */
export function isBitmapOfGroup(group: GroupName, name: string): boolean {
  return name.startsWith(`${prefix}${group}:`);
}

/** The point or sync that a bitmap of ours is named after. */
export function idInBitmapName(name: string): string {
  return name.split(":")[2] ?? "";
}

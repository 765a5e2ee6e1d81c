import type { DiskName, GroupName, PointId } from "../src/core/ids.ts";

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
}

export function makeBitmap(
  name: string,
  options: { isPersistent: boolean; isRecording: boolean; dirty?: Iterable<number> },
): Bitmap {
  return {
    name,
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

import {
  type DiskName,
  type GroupName,
  type PointId,
  parseDiskName,
  parseGroupName,
  parsePointId,
} from "../core/ids.ts";

/**
 * Bitmaps of ours, by name: `afterimage:<group>:<point>:<bytes>:<disk>` records since that point, `afterimage:<group>:<point>:frozen`
 * says what a point has to read. The disk's size at the point is part of the name because QEMU counts a grown disk's new
 * tail as clean: it has to travel with the image, also when scratch and vault are elsewhere. So is the disk's name: should two
 * images of a group change places, neither bitmap is taken for the other disk's.
 */
export type BitmapName = RecordingBitmapName | FrozenBitmapName;

/** Of a bitmap that records. */
export interface RecordingBitmapName {
  readonly group: GroupName;
  readonly id: PointId;
  readonly sizeBytes: number;
  /** Null when the name says none: then it is no disk's. */
  readonly disk: DiskName | null;
}

interface FrozenBitmapName {
  readonly group: GroupName;
  readonly id: PointId;
  readonly sizeBytes: "frozen";
}

const prefix = "afterimage";

/** The name of the bitmap that records what changes on `disk` after point `id`; the disk had `sizeBytes` then. */
export function recordingBitmapName(
  group: GroupName,
  id: PointId,
  disk: { readonly name: DiskName; readonly sizeBytes: number },
): string {
  return `${prefix}:${group}:${id}:${disk.sizeBytes}:${disk.name}`;
}

/** The name of the frozen copy that says what point `id` has to read. */
export function frozenBitmapName(group: GroupName, id: PointId): string {
  return `${prefix}:${group}:${id}:frozen`;
}

/** What a bitmap's name says, or null when the bitmap is not one of ours. */
export function parseBitmapName(text: string): BitmapName | null {
  const [head, groupText = "", idText = "", size = "", ...rest] = text.split(":");
  const group = parseGroupName(groupText);
  const id = parsePointId(idText);
  if (head !== prefix || rest.length > 1 || group === null || id === null) return null;
  if (size === "frozen") return rest.length === 0 ? { group, id, sizeBytes: size } : null;
  if (!/^[1-9][0-9]{0,15}$/.test(size) || !Number.isSafeInteger(Number(size))) return null;
  return { group, id, sizeBytes: Number(size), disk: parseDiskName(rest[0] ?? "") };
}

const countingPrefix = "afterimage-assess";

/** The name of a bitmap that only counts, for an assessment: not one that `parseBitmapName` knows. */
export function countingBitmapName(group: GroupName, id: PointId, counter: string): string {
  return `${countingPrefix}:${group}:${id}:${counter}`;
}

/** Whether a bitmap is one of the group's assessments', of any life. */
export function isCountingBitmap(group: GroupName, name: string): boolean {
  return name.startsWith(`${countingPrefix}:${group}:`);
}

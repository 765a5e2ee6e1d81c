import { type Prng, randomHex } from "../base/prng.ts";
import { nameLengthMax } from "./limits.ts";

declare const brand: unique symbol;
type Branded<Kind extends string> = string & { readonly [brand]: Kind };

/** A group's name: 1 to 63 of a-z, 0-9, '-', '_', '.', starting with a letter or digit. Unique in a vault. */
export type GroupName = Branded<"GroupName">;
/** A machine's name within its group; same alphabet. */
export type MachineName = Branded<"MachineName">;
/** A disk as the configuration names it: "machine/disk". Says which disk is meant, not which life of it. */
export type DiskName = Branded<"DiskName">;
/** One life of a disk in a group: 16 hex digits, drawn at its initial sync. A disk removed and added again is a new one. */
export type DiskIdentity = Branded<"DiskIdentity">;
/** A recovery point, or a sync under way: 16 hex digits drawn by the sender; bitmaps are named after it. */
export type PointId = Branded<"PointId">;
/** A SHA-256 as 64 lower-case hex digits. */
export type HashHex = Branded<"HashHex">;

const namePattern = /^[a-z0-9][a-z0-9._-]*$/i;
const idPattern = /^[0-9a-f]{16}$/;

function isName(text: string): boolean {
  return text.length <= nameLengthMax && namePattern.test(text);
}

/** The text as a group's name, or null when it is none. */
export function parseGroupName(text: string): GroupName | null {
  return isName(text) ? (text as GroupName) : null;
}

/** The text as a machine's name, or null when it is none. */
export function parseMachineName(text: string): MachineName | null {
  return isName(text) ? (text as MachineName) : null;
}

/** "machine/disk" as a disk's name, or null when it is none. */
export function parseDiskName(text: string): DiskName | null {
  const parts = text.split("/");
  return parts.length === 2 && parts.every(isName) ? (text as DiskName) : null;
}

/** The machine part of a disk's name. */
export function machineOf(disk: DiskName): MachineName {
  return disk.slice(0, disk.indexOf("/")) as MachineName;
}

/** The text as a point's id, or null when it is none. */
export function parsePointId(text: string): PointId | null {
  return idPattern.test(text) ? (text as PointId) : null;
}

/** The text as a disk's identity, or null when it is none. */
export function parseDiskIdentity(text: string): DiskIdentity | null {
  return idPattern.test(text) ? (text as DiskIdentity) : null;
}

/** A new point's id. */
export function drawPointId(prng: Prng): PointId {
  return randomHex(prng, 8) as PointId;
}

/** A new disk's identity. */
export function drawDiskIdentity(prng: Prng): DiskIdentity {
  return randomHex(prng, 8) as DiskIdentity;
}

import { createHash } from "node:crypto";
import type { DiskName, GroupName, MachineName } from "../core/ids.ts";

/**
 * What we make in a QEMU bears `afterimage-<group>-<disk>-<kind>`, group and disk as short hashes: QEMU's node names end at
 * 31 characters. The names are always the same for a disk, so that what an earlier life left is found without any record.
 */
export interface OwnNames {
  /** The qcow2 overlay that keeps the old content, and is read. */
  readonly fleeceNode: string;
  /** The file beneath it, watched by a write threshold. */
  readonly scratchNode: string;
  /** The filter that copies before the guest writes. */
  readonly filterNode: string;
  readonly job: string;
  /** Id and name of the NBD export of a point. */
  readonly pointExport: string;
  /** Id and name of the NBD export of the live disk. */
  readonly liveExport: string;
  /** File name in the scratch directory. */
  readonly scratchFile: string;
}

/** Longest node name that QEMU takes (`BlockDriverState.node_name` has 32 bytes with its end). */
export const nodeNameLengthMax = 31;

/** Begins every name of ours for a group. */
export function ownPrefix(group: GroupName): string {
  return `afterimage-${shortHash(group)}-`;
}

/** The names of what we make for one disk of a group. */
export function ownNames(group: GroupName, disk: DiskName): OwnNames {
  const stem = `${ownPrefix(group)}${shortHash(disk)}-`;
  return {
    fleeceNode: `${stem}f`,
    scratchNode: `${stem}s`,
    filterNode: `${stem}w`,
    job: `${stem}j`,
    pointExport: `${stem}p`,
    liveExport: `${stem}l`,
    scratchFile: `${stem}f.qcow2`,
  };
}

/** File name of the socket on which a machine's QEMU serves our exports. */
export function ownSocketFile(group: GroupName, machine: MachineName): string {
  return `${ownPrefix(group)}${shortHash(machine)}.nbd`;
}

/** Id of the object that holds the certificates with which a machine's QEMU serves our exports to another host. */
export function ownCredentials(group: GroupName, machine: MachineName): string {
  return `${ownPrefix(group)}${shortHash(machine)}-t`;
}

/** Begins the directory of a storage daemon that serves a stopped machine of the group. */
export function daemonPrefix(group: GroupName): string {
  return `${ownPrefix(group)}d`;
}

/** 8 characters of 36 letters and digits: 41 bits, so that a thousand disks do not collide. */
function shortHash(text: string): string {
  const number = createHash("sha256").update(text).digest().readBigUInt64BE();
  return number.toString(36).padStart(8, "0").slice(-8);
}

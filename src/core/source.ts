import type { Extent } from "./extent.ts";
import type { DiskName, MachineName, PointId } from "./ids.ts";
import type { Consistency, Instant, MachineDescription } from "./point.ts";

/** What a source can do; callers branch on these and never on the kind of source. */
export interface SourceTraits {
  readonly tracker: "persistent" | "while-running" | "none";
  readonly hasMultiMachineInstant: boolean;
  readonly canReadOffline: boolean;
}

/** A disk as the source has it now. */
export interface SourceDisk {
  readonly name: DiskName;
  readonly sizeBytes: number;
}

/** What the source knows about changes on a disk since a point. */
export type DiskTracking =
  /** A good bitmap of that point records; `kept` are all the kept points that it has good bitmaps of, `since` the first. */
  | {
      readonly disk: SourceDisk;
      readonly state: "tracked";
      readonly since: PointId;
      readonly kept: readonly PointId[];
    }
  /** None of the wanted bitmaps is there and good: the disk needs a sync. `cause` is a sentence. */
  | { readonly disk: SourceDisk; readonly state: "untracked"; readonly cause: string };

/** What a source found when it looked at its disks. */
export interface RepairReport {
  readonly disks: readonly DiskTracking[];
  /** What was found of an earlier life of ours and removed, one sentence each. */
  readonly removed: readonly string[];
}

/**
 * Where the disks of one group live. One per group; the group's machines and disks were handed in when it was made.
 * Every method rejects with a Fault, honours `signal`, and leaves nothing half done on the source when it rejects.
 */
export interface Source extends AsyncDisposable {
  readonly traits: SourceTraits;
  /**
   * Finds the disks as they are now. Removes what bears our prefix and this group's name and is stale: bitmaps named after
   * points other than `keep`, exports, jobs, nodes and scratch files; touches nothing else. Safe to call at any time between
   * snapshots. When a disk has good bitmaps of several kept points, `since` is the first in `keep` that it has.
   */
  repair(options: { keep: readonly PointId[]; signal: AbortSignal }): Promise<RepairReport>;
  /** Starts recording on `disks` under `id`; one that already records under `id` is left as it is. */
  track(disks: readonly DiskName[], id: PointId, options: { signal: AbortSignal }): Promise<void>;
  /** Opens the disk for reading as it changes; for initial sync and resync only. */
  openLive(disk: DiskName, options: { signal: AbortSignal }): Promise<LiveDisk>;
  /**
   * Takes one instant over all disks of the group. `since` names for each disk the point or sync its changes are counted from.
   * Rejects with BITMAP_LOST (details.disk) when one of these bitmaps is not there any more.
   */
  freeze(options: {
    id: PointId;
    since: ReadonlyMap<DiskName, PointId>;
    signal: AbortSignal;
  }): Promise<Snapshot>;
  /**
   * What changed since, in bytes of whole blocks, by the bitmaps' own counts: cheap, takes no instant, holds nothing. Null when a
   * disk's count cannot be had (its machine is off, the bitmap is gone): then only a freeze tells. Zero proves that nothing had
   * changed at the moment before the call.
   */
  dirtyBytes(options: {
    since: ReadonlyMap<DiskName, PointId>;
    signal: AbortSignal;
  }): Promise<number | null>;
  /** What the guests' own writes have cost them so far; null where that is not told. Callers take differences. */
  guestWrites(options: { signal: AbortSignal }): Promise<GuestWrites | null>;
  /**
   * Pauses the group's running machines and leaves them paused; returns their names. For a replicator whose generation was
   * overtaken and that is configured to.
   */
  pause(options: { signal: AbortSignal }): Promise<readonly MachineName[]>;
}

/** Counters since the guests started, over all disks of the group; they may start anew. */
export interface GuestWrites {
  readonly operations: number;
  readonly bytes: number;
  readonly totalTimeNs: number;
}

/** A disk that is read while its guest writes. Disposing closes it. */
export interface LiveDisk extends AsyncDisposable {
  readonly sizeBytes: number;
  /** What is data and what reads as zero in [offsetBytes, offsetBytes + lengthBytes), in order, without gaps. */
  extents(offsetBytes: number, lengthBytes: number): AsyncIterable<Extent>;
  /** Fills `into` from `offsetBytes`. Several reads may be in flight. */
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
}

/** A point in time over all disks of a group. Disposing without `forget()` gives the point up. */
export interface Snapshot extends AsyncDisposable {
  readonly id: PointId;
  readonly instant: Instant;
  readonly consistency: Consistency;
  readonly disks: readonly SourceDisk[];
  readonly machines: readonly MachineDescription[];
  /** Aborts, with the Fault as reason, when the point in time cannot be held any longer (scratch cap, machine gone). */
  readonly lost: AbortSignal;
  /**
   * What changed since the disk's `since`, whole blocks (the disk's last may be short), in order of offset, not overlapping;
   * `zero` where it reads as zero (unallocated counts as zero). A grown disk's new tail is in it.
   */
  extents(disk: DiskName): AsyncIterable<Extent>;
  /** Fills `into` from `offsetBytes` as it was at the instant. Several reads may be in flight. */
  read(disk: DiskName, offsetBytes: number, into: Uint8Array): Promise<void>;
  /** Ends the reading early (export and scratch go), so that the guest stops paying for it; `forget` is still due. */
  release(): Promise<void>;
  /**
   * Called once the seal is acknowledged, or the point is safe in the spool: bitmaps of `since` and the frozen copies go, but
   * those named `keep` stay and go on recording. Idempotent.
   */
  forget(options?: { readonly keep: PointId | null }): Promise<void>;
}

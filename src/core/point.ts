import type { ClockComparison } from "./clock-comparison.ts";
import type { DiskIdentity, DiskName, GroupName, HashHex, MachineName, PointId } from "./ids.ts";

/** Who may write a group's history: fences replication, never inferred (design.md, invariant 7). */
export interface Generation {
  readonly number: number;
  /** 16 hex digits, drawn when the generation was raised. */
  readonly holder: string;
}

/** When a point was taken: somewhere between the bounds, on the taker's wall clock, which was off by at most `clockErrorMs`. */
export interface Instant {
  /** Before the first freeze command was sent. RPO is counted from here. */
  readonly lowerMs: number;
  /** After the last freeze command was answered. */
  readonly upperMs: number;
  /** Null while the clocks were never compared (one host). */
  readonly clockErrorMs: number | null;
}

/** What the guests did before the instant: nothing, flush their file systems, or flush their applications too. */
export type ConsistencyLevel = "crash" | "filesystem" | "application";

/** How consistent a point is, and why. */
export interface Consistency {
  readonly asked: ConsistencyLevel;
  readonly reached: ConsistencyLevel;
  /** Why `reached` is what it is, one sentence. */
  readonly reason: string;
  /** Whether all disks of all machines show one instant; false when the skew could not be bounded. */
  readonly isGroupConsistent: boolean;
  /** Between the first and the last machine's instant, upper bound; 0 for one machine; null when not bounded. */
  readonly skewMs: number | null;
}

/** A disk as it was at a point. */
export interface PointDisk {
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  readonly sizeBytes: number;
  /** Size at the from-point; null when the disk is new in this point (its base was staged by an initial sync). */
  readonly previousSizeBytes: number | null;
}

/** What is needed to start the machine elsewhere, as the source described it; opaque to journal and transport. */
export interface MachineDescription {
  readonly name: MachineName;
  /** Kind of `definition`, for example "qemu". */
  readonly platform: string;
  /** Plain JSON, at most 256 KiB. */
  readonly definition: Readonly<Record<string, unknown>>;
}

/** Everything a delta says about itself besides its content. */
export interface PointHeader {
  readonly id: PointId;
  readonly group: GroupName;
  readonly generation: Generation;
  /** Of the to-point: counts from 1 in a generation's group and never restarts. */
  readonly sequence: number;
  /** Sequence of the from-point; 0 before the first. `sequence - 1` unless deltas were merged. */
  readonly fromSequence: number;
  /** The point this delta starts from; null for the first. */
  readonly fromPoint: PointId | null;
  readonly instant: Instant;
  readonly consistency: Consistency;
  /** In index order: a delta's index speaks of disks by their place here. */
  readonly disks: readonly PointDisk[];
  readonly machines: readonly MachineDescription[];
  /** What happened on the way, for people: "erp/data was resynced by hash: its bitmap was missing". */
  readonly notes: readonly string[];
}

/** What a cycle cost; all whole numbers. */
export interface PointCost {
  /** Dirty by the bitmap, in bytes of whole blocks. */
  readonly dirtyBytes: number;
  /** Read from the source. */
  readonly readBytes: number;
  /** In data chunks, before the codec. */
  readonly dataBytes: number;
  /** In zero runs. */
  readonly zeroBytes: number;
  /** Size of the delta file. */
  readonly storedBytes: number;
}

/** A sealed recovery point as the journal knows it. */
export interface Point extends PointHeader {
  /** SHA-256 over header and logical index: same content, same root, whatever codec or cipher. */
  readonly contentRoot: HashHex;
  readonly sealedAtMs: number;
  readonly cost: PointCost;
  readonly verifiedAtMs: number | null;
  readonly drilledAtMs: number | null;
  /**
   * Nothing had changed since this point at that time, on the taker's wall clock: any instant from `instant` up to it shows this
   * content. Null when that was never asked.
   */
  readonly currentAtMs: number | null;
  /** The two sites' clocks when it was taken; null while one host does both. */
  readonly clock: ClockComparison | null;
}

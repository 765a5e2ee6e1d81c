import type { ClockComparison } from "../../core/clock-comparison.ts";
import type { DiskName, HashHex, PointId } from "../../core/ids.ts";
import type { OwedChanges, StagedStatus, StageRequest } from "../../core/journal.ts";
import type { Generation, Point } from "../../core/point.ts";

/** A point that was cut and waits to be shipped; its delta file says the rest. */
export interface SpooledPoint {
  readonly id: PointId;
  readonly sequence: number;
  readonly fromPoint: PointId | null;
  /** Lower bound of its instant. */
  readonly takenAtMs: number;
  readonly generationNumber: number;
  readonly contentRoot: HashHex;
  /** Of its file. */
  readonly sizeBytes: number;
  readonly dirtyBytes: number;
  readonly readBytes: number;
  readonly clock: ClockComparison | null;
  /** Syncs that the vault takes over when it seals the point. */
  readonly adopted: readonly StageRequest[];
  /** It goes on from the vault's head, which was sealed without our hearing of it, and not from its own from-point. */
  readonly isRebased: boolean;
}

/** A point that was cut, and given up because its file does not read back. */
export interface DroppedPoint {
  readonly id: PointId;
  readonly sequence: number;
}

/**
 * All that a replicator knows of a group while its vault is away. Points stand here without their machines' descriptions.
 */
export interface SpoolState {
  /** Whether the vault was ever asked: before, it may hold anything. */
  readonly isVaultKnown: boolean;
  /** As last heard. */
  readonly vaultHead: Point | null;
  /** As last heard. */
  readonly generation: Generation | null;
  /** As last heard. */
  readonly staged: readonly StagedStatus[];
  /** Null when the newest point's bitmap is enough. */
  readonly owed: OwedChanges | null;
  /** Sent to be sealed at the vault, not heard of since: it may be there, or come to be there. */
  readonly unanswered: Point | null;
  /** Oldest first. Given up here, but the vault may have been given them by a life that could not write that down. */
  readonly dropped: readonly DroppedPoint[];
  /** Oldest first; each goes on from the one before, the first from the vault's head. */
  readonly points: readonly SpooledPoint[];
}

/** Before the vault was ever asked. */
export const emptySpoolState: SpoolState = {
  isVaultKnown: false,
  vaultHead: null,
  generation: null,
  staged: [],
  owed: null,
  unanswered: null,
  dropped: [],
  points: [],
};

/** The sizes of a point's disks by name. */
export function sizesOf(point: Pick<Point, "disks">): ReadonlyMap<DiskName, number> {
  return new Map(point.disks.map((disk) => [disk.name, disk.sizeBytes]));
}

import type { Extent } from "./extent.ts";
import type { DiskIdentity, DiskName, PointId } from "./ids.ts";
import type { Point, PointCost, PointDisk, PointHeader } from "./point.ts";

/**
 * One group's history at a vault. Rejects with Faults only. One writer at a time; readers of the same vault run beside it.
 */
export interface Journal extends AsyncDisposable {
  /** The newest point, or null before the first. */
  head(): Point | null;
  /** The points that can be opened, oldest first. */
  points(): readonly Point[];
  /**
   * Starts a delta. `header.fromPoint` must be the head (SEAL_REFUSED). Nothing is visible before `seal`.
   * One delta at a time: a second `begin` before the first was disposed is a bug of the caller.
   */
  begin(header: PointHeader): Promise<PointWriter>;
  /**
   * The staged parts of a sync of one disk, made or found again. `base`: an initial sync, the disk is new to the group and its
   * identity was just drawn. `parts`: a resync against the head's content. What was staged for the disk under another
   * kind or identity is discarded. `syncId` is what the source records under now; see `StagedDisk.syncId`.
   */
  stage(request: StageRequest): Promise<StagedDisk>;
  /** Syncs under way, found again after a restart. */
  staged(): Promise<readonly StagedStatus[]>;
  /** Opens a point for reading. Pins it until disposed. POINT_UNKNOWN, POINT_RETIRED, DELTA_MISSING. */
  open(point: PointId): Promise<View>;
}

/** Which disk is to be staged, and as what. */
export interface StageRequest {
  readonly kind: "base" | "parts";
  readonly disk: DiskName;
  readonly identity: DiskIdentity;
  readonly sizeBytes: number;
  readonly syncId: PointId;
}

/** A sync under way and how far it is. */
export interface StagedStatus extends StageRequest {
  /** Everything below is durable in the staged parts as of the sync's reading. */
  readonly resumeAtBytes: number;
}

/** Parts of a disk read while it changed: never a point, never touching the base in use. */
export interface StagedDisk extends AsyncDisposable {
  readonly status: StagedStatus;
  /**
   * SHA-256 of each 64 KiB block (the disk's last may be short) that the parts, over what they are compared with, now hold;
   * `into` has 32 bytes for each of the blocks from `offsetBytes`, a multiple of a block. Absent blocks have the hash of zeroes.
   */
  hashes(offsetBytes: number, into: Uint8Array): Promise<void>;
  /** Stages whole blocks; `data` may be reused when it resolves. */
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Makes what was staged durable; after a crash the sync resumes at `resumeAtBytes`. */
  checkpoint(resumeAtBytes: number): Promise<void>;
  /** Throws the parts away, durably. */
  discard(): Promise<void>;
}

/** Writes one delta. Disposing before `seal` resolved gives it up and leaves nothing. */
export interface PointWriter extends AsyncDisposable {
  /**
   * Adds data; at most a window, not crossing one, multiples of a sector. Later calls for the same bytes are a bug.
   * `data` may be reused when it resolves. Several calls may be in flight.
   */
  write(disk: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void>;
  /** Adds a run of zeroes of any length. */
  zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void>;
  /**
   * Takes over a finished sync: a staged base becomes the disk's base, staged parts join this delta wherever it has no bytes
   * of its own yet (what the freeze read is newer). Called after all `write` and `zero`.
   */
  adopt(staged: StagedDisk): Promise<void>;
  /** The only commit point: durable and entered in the ledger when it resolves. Idempotent by content root. */
  seal(cost: Pick<PointCost, "dirtyBytes" | "readBytes">): Promise<Point>;
}

/** A point as disks. Reads are verified by hash; a mismatch rejects with DELTA_CORRUPT or BASE_CORRUPT. */
export interface View extends AsyncDisposable {
  readonly point: Point;
  readonly disks: readonly PointDisk[];
  /** Fills `into` from `offsetBytes`, any alignment, within the disk's size. Several reads may be in flight. */
  read(disk: DiskIdentity, offsetBytes: number, into: Uint8Array): Promise<void>;
  /** What is data and what reads as zero in the run, in order, without gaps. */
  extents(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<readonly Extent[]>;
}

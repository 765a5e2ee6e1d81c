import type { ClockComparison } from "./clock-comparison.ts";
import type { Extent } from "./extent.ts";
import type { DiskIdentity, DiskName, HashHex, PointId } from "./ids.ts";
import type { Generation, Point, PointDisk, PointHeader } from "./point.ts";

/**
 * Where a group's points go: the journal itself, a vault's journal across a link, or a spool before either. Rejects with Faults
 * only. One writer at a time.
 */
export interface JournalIntake extends AsyncDisposable {
  /**
   * The newest point, or null before the first; as last heard, where a link lies between. With a spool: the newest that was
   * cut, shipped or not.
   */
  head(): Point | null;
  /** Asks anew how the group stands; what attaching begins with. */
  ask(): Promise<IntakeStanding>;
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
  /**
   * Keeps beside `point`, the head, that nothing had changed since it at `atMs` on the sender's wall clock. Advisory: an
   * intake that cannot reach its vault drops it. A point that is not the head any more is ignored.
   */
  confirmCurrent(confirmation: { readonly point: PointId; readonly atMs: number }): Promise<void>;
  /**
   * The point whose bitmap must go on recording although it is not the newest: the vault's head while newer points wait in a
   * spool. Null when the newest point's is enough.
   */
  owedSince(): PointId | null;
}

/** How a group stands at its vault. */
export interface IntakeStanding {
  readonly head: Point | null;
  /** Syncs under way, found again after a restart. */
  readonly staged: readonly StagedStatus[];
  /** Who may write; null while the group has none (then the first point claims number 1). */
  readonly generation: Generation | null;
  /** Null where no spool lies between, or it is empty. */
  readonly owed: OwedChanges | null;
}

/**
 * What bitmaps may be trusted while points wait, or waited, in a spool. A disk that has good bitmaps of both `since` and
 * `witness` recorded without a gap from `since` on: it counts its changes from the witness when that is the head, else (points
 * of the spool were lost) from `since`, whose bitmap knows more than is owed.
 */
export interface OwedChanges {
  /** The vault's head when the spool began to fill. */
  readonly since: PointId;
  /** The newest point that was cut into the spool, still there or not. */
  readonly witness: PointId;
  /** The smallest size of each disk since `since`: its bitmap calls everything behind clean. */
  readonly smallestSizeBytes: ReadonlyMap<DiskName, number>;
}

/** One group's history at a vault; readers of the same vault run beside the writer. */
export interface Journal extends JournalIntake {
  /** The points that can be opened, oldest first. */
  points(): readonly Point[];
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
   * Adds a chunk as another writer stored it, without compressing again. Every piece is compared with its hash first:
   * DELTA_CORRUPT, and the delta can still be gone on with. The buffers may be reused when it resolves.
   */
  writeStored(disk: DiskIdentity, chunk: StoredChunk): Promise<void>;
  /**
   * Takes over a finished sync: a staged base becomes the disk's base, staged parts join this delta wherever it has no bytes
   * of its own yet (what the freeze read is newer). Called after all `write` and `zero`.
   */
  adopt(staged: StagedDisk): Promise<void>;
  /** The only commit point: durable and entered in the ledger when it resolves. Idempotent by content root. */
  seal(sealing: Sealing): Promise<Point>;
}

/** A data chunk of a delta as it stands in a file or on the wire (docs/format/delta.md). */
export interface StoredChunk {
  readonly offsetBytes: number;
  /** Of the data, at most a window. */
  readonly lengthBytes: number;
  readonly codec: "raw" | "zstd";
  /** SHA-256 of each piece, 32 bytes each. */
  readonly list: Uint8Array;
  readonly payload: Uint8Array;
}

/** What is said of a delta when it is sealed. */
export interface Sealing {
  /** Dirty by the bitmap, in bytes of whole blocks. */
  readonly dirtyBytes: number;
  /** Read from the source. */
  readonly readBytes: number;
  /**
   * What the sender wrote; another content is refused (DELTA_CORRUPT). Not given where none crossed a wire, or where staged
   * parts join.
   */
  readonly contentRoot?: HashHex | null;
  /** The two sites' clocks when the point was taken; not given while one host does both. */
  readonly clock?: ClockComparison | null;
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

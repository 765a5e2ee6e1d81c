import assert from "node:assert/strict";
import { hexOf, readUint64, viewOf } from "./bytes.ts";
import { type Codec, codecOf } from "./codec.ts";
import {
  hashLengthBytes,
  logicalEntryLengthBytes,
  pieceSpanBytes,
  placementEntryLengthBytes,
  sectorSizeBytes,
} from "./delta-limits.ts";

/** Kinds of an entry as they stand in the file. */
export const entryKinds = { data: 1, zero: 2 } as const;

/**
 * A delta's index, read in place: two tables of bytes and no object per extent. Entries are numbered from 0 and sorted by
 * disk and offset; numbers of entries that do not exist throw a RangeError. Valid as it stands only after `checkIndex`.
 */
export class DeltaIndex {
  readonly entryCount: number;
  /** 48 bytes per entry: what is on the disks. Not to be written to. */
  readonly logicalTable: Uint8Array;
  /** 16 bytes per entry: where it is stored. Not to be written to. */
  readonly placementTable: Uint8Array;
  readonly #logical: DataView;
  readonly #placement: DataView;

  /** Keeps both tables; they must not change any more. */
  constructor(logicalTable: Uint8Array, placementTable: Uint8Array) {
    this.entryCount = logicalTable.length / logicalEntryLengthBytes;
    assert(Number.isInteger(this.entryCount), "a logical table is whole entries");
    assert(placementTable.length === this.entryCount * placementEntryLengthBytes);
    this.logicalTable = logicalTable;
    this.placementTable = placementTable;
    this.#logical = viewOf(logicalTable);
    this.#placement = viewOf(placementTable);
  }

  /** The index as it stands in a file: the logical table, then the placement table. Keeps `bytes`. */
  static over(bytes: Uint8Array): DeltaIndex {
    const entryLengthBytes = logicalEntryLengthBytes + placementEntryLengthBytes;
    const split = (bytes.length / entryLengthBytes) * logicalEntryLengthBytes;
    return new DeltaIndex(bytes.subarray(0, split), bytes.subarray(split));
  }

  /** Place of the disk in the header's list. */
  disk(entry: number): number {
    return this.#logical.getUint16(entry * logicalEntryLengthBytes, true);
  }

  /** The kind's number, `entryKinds`. */
  kind(entry: number): number {
    return this.#logical.getUint8(entry * logicalEntryLengthBytes + 2);
  }

  /** Whether the extent reads as zeroes; otherwise a chunk holds its data. */
  isZero(entry: number): boolean {
    return this.kind(entry) === entryKinds.zero;
  }

  lengthBytes(entry: number): number {
    return this.#logical.getUint32(entry * logicalEntryLengthBytes + 4, true) * sectorSizeBytes;
  }

  /** Where the extent begins on its disk. */
  offsetBytes(entry: number): number {
    return readUint64(this.#logical, entry * logicalEntryLengthBytes + 8) * sectorSizeBytes;
  }

  /** First byte behind the extent on its disk. */
  endBytes(entry: number): number {
    return this.offsetBytes(entry) + this.lengthBytes(entry);
  }

  /** SHA-256 of the chunk's piece list; zeroes for a zero extent. A view into the index. */
  pieceListHash(entry: number): Uint8Array {
    const at = entry * logicalEntryLengthBytes + 16;
    return this.logicalTable.subarray(at, at + hashLengthBytes);
  }

  /** Where the stored chunk begins in the file. */
  storedPositionBytes(entry: number): number {
    return readUint64(this.#placement, entry * placementEntryLengthBytes);
  }

  /** Piece list and payload as stored; 0 for a zero extent. */
  storedLengthBytes(entry: number): number {
    return this.#placement.getUint32(entry * placementEntryLengthBytes + 8, true);
  }

  /** How the chunk's payload is stored; null for a number without meaning. */
  codec(entry: number): Codec | null {
    return codecOf(this.#placement.getUint8(entry * placementEntryLengthBytes + 12));
  }

  /** Pieces of the extent: it is cut at each multiple of 64 KiB on the disk. */
  pieceCount(entry: number): number {
    return pieceCountOf(this.offsetBytes(entry), this.lengthBytes(entry));
  }

  /** The first entry that ends behind `offsetBytes` of the disk, or lies on a later disk; `entryCount` when there is none. */
  seek(disk: number, offsetBytes: number): number {
    let low = 0;
    let high = this.entryCount;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const at = this.disk(middle);
      const isBefore = at < disk || (at === disk && this.endBytes(middle) <= offsetBytes);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** "disk 0, 65536+4096": an entry for people. */
  describe(entry: number): string {
    return `disk ${this.disk(entry)}, ${this.offsetBytes(entry)}+${this.lengthBytes(entry)}`;
  }

  /** The piece list's hash as hex. */
  pieceListHashHex(entry: number): string {
    return hexOf(this.pieceListHash(entry));
  }
}

/** How many pieces a run of a disk has; the first and last may be short. */
export function pieceCountOf(offsetBytes: number, lengthBytes: number): number {
  const first = Math.floor(offsetBytes / pieceSpanBytes);
  const last = Math.floor((offsetBytes + lengthBytes - 1) / pieceSpanBytes);
  return last - first + 1;
}

/** Where piece `piece` of a run begins, counted from the run's start; `lengthBytes` for the piece behind the last. */
export function pieceStartOf(offsetBytes: number, lengthBytes: number, piece: number): number {
  if (piece === 0) return 0;
  const spanStart = (Math.floor(offsetBytes / pieceSpanBytes) + piece) * pieceSpanBytes;
  return Math.min(spanStart - offsetBytes, lengthBytes);
}

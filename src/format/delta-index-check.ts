import { isZeroes, viewOf } from "./bytes.ts";
import { type Codec, codecNumber } from "./codec.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import { type DeltaIndex, entryKinds, pieceCountOf } from "./delta-index.ts";
import {
  chunkSpanBytes,
  hashLengthBytes,
  logicalEntryLengthBytes,
  payloadCrcLengthBytes,
  placementEntryLengthBytes,
  zeroSpanBytes,
} from "./delta-limits.ts";

/** What a delta's index must agree with. */
export interface IndexBounds {
  /** For each disk of the header how far an extent may reach: the larger of its sizes at the to-point and the from-point. */
  readonly diskReachBytes: readonly number[];
  /** Where the chunks begin and end in the file. */
  readonly chunksStartBytes: number;
  readonly chunksEndBytes: number;
  /** The prologue's codec: `raw` allows no compressed chunk. */
  readonly codec: Codec;
}

/**
 * Checks every entry: sorted, not overlapping, on a disk that exists and within its reach, inside one span; stored chunks of
 * possible lengths that cover the chunk area exactly, without gap or overlap; everything reserved zero.
 */
export function checkIndex(index: DeltaIndex, bounds: IndexBounds): void {
  let previousDisk = 0;
  let previousEndBytes = 0;
  let nextStoredBytes = bounds.chunksStartBytes;
  let isInOrder = true;
  for (let entry = 0; entry < index.entryCount; entry += 1) {
    const disk = index.disk(entry);
    const offsetBytes = index.offsetBytes(entry);
    if (disk < previousDisk || (disk === previousDisk && offsetBytes < previousEndBytes)) {
      throw wrong(index, entry, "overlaps the entry before it, or is not in order");
    }
    previousDisk = disk;
    previousEndBytes = checkExtent(index, entry, bounds);
    if (index.isZero(entry)) continue;
    if (index.storedPositionBytes(entry) !== nextStoredBytes) isInOrder = false;
    nextStoredBytes += index.storedLengthBytes(entry);
  }
  checkReserved(index);
  if (nextStoredBytes !== bounds.chunksEndBytes) {
    throw deltaCorrupt("index", "the stored chunks do not fill the space between header and index");
  }
  if (!isInOrder) checkTiling(index, bounds);
}

/** Returns where the extent ends on its disk. */
function checkExtent(index: DeltaIndex, entry: number, bounds: IndexBounds): number {
  const offsetBytes = index.offsetBytes(entry);
  const lengthBytes = index.lengthBytes(entry);
  const endBytes = offsetBytes + lengthBytes;
  const reachBytes = bounds.diskReachBytes[index.disk(entry)];
  if (reachBytes === undefined) throw wrong(index, entry, "is on a disk that the header lacks");
  if (lengthBytes === 0) throw wrong(index, entry, "is empty");
  if (!(endBytes <= reachBytes)) throw wrong(index, entry, "reaches beyond its disk");
  const kind = index.kind(entry);
  if (kind !== entryKinds.data && kind !== entryKinds.zero) {
    throw wrong(index, entry, "has an unknown kind");
  }
  const spanBytes = kind === entryKinds.data ? chunkSpanBytes : zeroSpanBytes;
  if (Math.floor(offsetBytes / spanBytes) !== Math.floor((endBytes - 1) / spanBytes)) {
    throw wrong(index, entry, "crosses a boundary that its kind must not cross");
  }
  if (kind === entryKinds.data) checkStored(index, entry, bounds);
  else checkZero(index, entry);
  return endBytes;
}

function checkStored(index: DeltaIndex, entry: number, bounds: IndexBounds): void {
  const lengthBytes = index.lengthBytes(entry);
  const listLengthBytes = pieceCountOf(index.offsetBytes(entry), lengthBytes) * hashLengthBytes;
  const payloadLengthBytes = index.storedLengthBytes(entry) - listLengthBytes;
  const codec = index.codec(entry);
  const isPossible =
    codec === "raw"
      ? payloadLengthBytes === lengthBytes
      : codec === bounds.codec &&
        payloadLengthBytes > payloadCrcLengthBytes &&
        payloadLengthBytes < lengthBytes;
  if (!isPossible) throw wrong(index, entry, "has a codec or stored length that cannot be");
  const storedEndBytes = index.storedPositionBytes(entry) + index.storedLengthBytes(entry);
  const isInside =
    index.storedPositionBytes(entry) >= bounds.chunksStartBytes &&
    storedEndBytes <= bounds.chunksEndBytes;
  if (!isInside) throw wrong(index, entry, "is stored outside the chunks");
}

function checkZero(index: DeltaIndex, entry: number): void {
  const at = entry * placementEntryLengthBytes;
  const placement = index.placementTable.subarray(at, at + placementEntryLengthBytes);
  if (!isZeroes(placement) || !isZeroes(index.pieceListHash(entry))) {
    throw wrong(index, entry, "is zero and yet stored");
  }
}

function checkReserved(index: DeltaIndex): void {
  const logical = index.logicalTable;
  for (let at = 3; at < logical.length; at += logicalEntryLengthBytes) {
    if (logical[at] !== 0) throw deltaCorrupt("index", "a reserved field is not zero");
  }
  // The last word of a placement is the codec's number and three bytes that are reserved.
  const placement = viewOf(index.placementTable);
  for (let at = 12; at < placement.byteLength; at += placementEntryLengthBytes) {
    if (placement.getUint32(at, true) > codecNumber("zstd")) {
      throw deltaCorrupt("index", "a reserved field is not zero");
    }
  }
}

/** For chunks stored in another order than the index's: sorted by position they must follow each other. */
function checkTiling(index: DeltaIndex, bounds: IndexBounds): void {
  const entries = new Uint32Array(index.entryCount);
  let count = 0;
  for (let entry = 0; entry < index.entryCount; entry += 1) {
    if (!index.isZero(entry)) entries[count++] = entry;
  }
  const stored = entries.subarray(0, count);
  stored.sort((left, right) => index.storedPositionBytes(left) - index.storedPositionBytes(right));
  let nextStoredBytes = bounds.chunksStartBytes;
  for (const entry of stored) {
    if (index.storedPositionBytes(entry) !== nextStoredBytes) {
      throw wrong(index, entry, "is stored with a gap or an overlap before it");
    }
    nextStoredBytes += index.storedLengthBytes(entry);
  }
}

function wrong(index: DeltaIndex, entry: number, problem: string): Error {
  const message = `entry ${entry} (${index.describe(entry)}) ${problem}`;
  return deltaCorrupt("index", message, { entry });
}

import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import { viewOf, writeUint64 } from "./bytes.ts";
import { type Codec, codecNumber } from "./codec.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import { DeltaIndex, entryKinds } from "./delta-index.ts";
import {
  indexEntriesMax,
  logicalEntryLengthBytes,
  placementEntryLengthBytes,
  sectorSizeBytes,
  zeroSpanBytes,
} from "./delta-limits.ts";

const entriesAtFirst = 256;

/** A chunk as it was stored. */
export interface StoredChunk {
  readonly disk: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly pieceListHash: Uint8Array;
  readonly storedPositionBytes: number;
  readonly storedLengthBytes: number;
  readonly codec: Codec;
}

/** Collects entries in any order, 64 bytes each, and makes the sorted index of them. */
export class DeltaIndexBuilder {
  #entryCount = 0;
  #logical: Uint8Array = new Uint8Array(entriesAtFirst * logicalEntryLengthBytes);
  #placement: Uint8Array = new Uint8Array(entriesAtFirst * placementEntryLengthBytes);

  /** STORAGE_FULL when the index would have more entries than the format allows. */
  addChunk(chunk: StoredChunk): void {
    const entry = this.#addExtent(chunk.disk, chunk.offsetBytes, chunk.lengthBytes);
    this.#logical[entry * logicalEntryLengthBytes + 2] = entryKinds.data;
    this.#logical.set(chunk.pieceListHash, entry * logicalEntryLengthBytes + 16);
    const at = entry * placementEntryLengthBytes;
    const placement = viewOf(this.#placement);
    writeUint64(placement, at, chunk.storedPositionBytes);
    placement.setUint32(at + 8, chunk.storedLengthBytes, true);
    placement.setUint8(at + 12, codecNumber(chunk.codec));
  }

  /** A run of zeroes of any length. */
  addZero(disk: number, offsetBytes: number, lengthBytes: number): void {
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; ) {
      const spanEnd = (Math.floor(at / zeroSpanBytes) + 1) * zeroSpanBytes;
      const end = Math.min(spanEnd, offsetBytes + lengthBytes);
      const entry = this.#addExtent(disk, at, end - at);
      this.#logical[entry * logicalEntryLengthBytes + 2] = entryKinds.zero;
      at = end;
    }
  }

  /** The index of all that was added, neighbouring zero extents joined. DELTA_CORRUPT when extents overlap. */
  finish(): DeltaIndex {
    const added = this.#index();
    const order = sortedOrder(added);
    const logical = new Uint8Array(added.logicalTable.length);
    const placement = new Uint8Array(added.placementTable.length);
    let count = 0;
    for (let place = 0; place < order.length; place += 1) {
      const entry = order[place]!;
      if (place > 0 && joinsPrevious(added, order[place - 1]!, entry)) {
        const at = (count - 1) * logicalEntryLengthBytes + 4;
        const view = viewOf(logical);
        const joined = view.getUint32(at, true) + added.lengthBytes(entry) / sectorSizeBytes;
        view.setUint32(at, joined, true);
        continue;
      }
      copyEntry(added.logicalTable, entry, logical, count, logicalEntryLengthBytes);
      copyEntry(added.placementTable, entry, placement, count, placementEntryLengthBytes);
      count += 1;
    }
    return new DeltaIndex(
      logical.subarray(0, count * logicalEntryLengthBytes),
      placement.subarray(0, count * placementEntryLengthBytes),
    );
  }

  #index(): DeltaIndex {
    return new DeltaIndex(
      this.#logical.subarray(0, this.#entryCount * logicalEntryLengthBytes),
      this.#placement.subarray(0, this.#entryCount * placementEntryLengthBytes),
    );
  }

  #addExtent(disk: number, offsetBytes: number, lengthBytes: number): number {
    assert(offsetBytes % sectorSizeBytes === 0 && lengthBytes % sectorSizeBytes === 0);
    assert(lengthBytes > 0, "an extent has a length");
    const entry = this.#entryCount;
    if (entry === indexEntriesMax) {
      const message = `the delta would have more than ${indexEntriesMax} extents`;
      throw new Fault("STORAGE_FULL", message, { indexEntriesMax });
    }
    if (entry * logicalEntryLengthBytes === this.#logical.length) {
      this.#logical = doubled(this.#logical);
      this.#placement = doubled(this.#placement);
    }
    this.#entryCount += 1;
    const view = viewOf(this.#logical);
    const at = entry * logicalEntryLengthBytes;
    view.setUint16(at, disk, true);
    view.setUint32(at + 4, lengthBytes / sectorSizeBytes, true);
    writeUint64(view, at + 8, offsetBytes / sectorSizeBytes);
    return entry;
  }
}

function doubled(bytes: Uint8Array): Uint8Array {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes, 0);
  return larger;
}

function copyEntry(
  from: Uint8Array,
  entry: number,
  to: Uint8Array,
  place: number,
  lengthBytes: number,
): void {
  const start = entry * lengthBytes;
  to.set(from.subarray(start, start + lengthBytes), place * lengthBytes);
}

/** The entries' numbers by disk and offset. */
function sortedOrder(index: DeltaIndex): Uint32Array {
  const order = Uint32Array.from({ length: index.entryCount }, (_, entry) => entry);
  const compare = (left: number, right: number): number =>
    index.disk(left) - index.disk(right) || index.offsetBytes(left) - index.offsetBytes(right);
  let isSorted = true;
  for (let entry = 1; entry < order.length && isSorted; entry += 1) {
    isSorted = compare(entry - 1, entry) < 0;
  }
  if (!isSorted) order.sort(compare);
  for (let place = 1; place < order.length; place += 1) {
    const [before, entry] = [order[place - 1]!, order[place]!];
    const isApart =
      index.disk(before) < index.disk(entry) || index.endBytes(before) <= index.offsetBytes(entry);
    // What is added may come across a link.
    if (!isApart) throw deltaCorrupt("index", "two extents of the delta overlap");
  }
  return order;
}

function joinsPrevious(index: DeltaIndex, before: number, entry: number): boolean {
  return (
    index.isZero(before) &&
    index.isZero(entry) &&
    index.disk(before) === index.disk(entry) &&
    index.endBytes(before) === index.offsetBytes(entry) &&
    index.offsetBytes(entry) % zeroSpanBytes !== 0
  );
}

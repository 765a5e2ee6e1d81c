import assert from "node:assert/strict";
import type { Extent } from "../core/extent.ts";
import { blockSizeBytes, hashLengthBytes, windowSizeBytes } from "../core/limits.ts";
import type { PointDisk } from "../core/point.ts";
import type { DeltaReader } from "../delta/reader.ts";
import { sha256 } from "../format/bytes.ts";
import { pieceCountOf } from "../format/delta-index.ts";
import { type BaseDisk, hashOfEntry, isAbsent } from "./base-disk.ts";
import type { BlockCache } from "./block-cache.ts";
import { isZeroes, zeroBlock, zeroBlockHash } from "./block-store.ts";
import type { DeltaFile, DeltaFiles } from "./delta-files.ts";
import { fromBase, fromZeroes, type RunIndex, type Segment } from "./run-index.ts";
import type { UnitCache } from "./unit-cache.ts";

/** Windows whose segments are kept. */
const resolvedWindowsMax = 4096;
/** Hash entries that are looked at in one go when extents are asked for: 128 MiB of disk. */
const blocksAtOnce = 2048;

/** Finds the delta of an entry: deltas of a view number their entries one after the other. */
export interface EntryPlace {
  readonly file: DeltaFile;
  /** Number of the entry in that delta. */
  readonly entry: number;
}

export interface ViewDiskOptions {
  readonly disk: PointDisk;
  readonly index: RunIndex;
  /** Null when the base has no such disk. */
  readonly base: BaseDisk | null;
  readonly deltas: DeltaFiles;
  /** Piece lists, and chunks that were decompressed. */
  readonly cache: UnitCache;
  /** Pieces and blocks that were wanted in part. */
  readonly blocks: BlockCache;
  readonly placeOf: (entry: number) => EntryPlace;
}

/** One disk of a view. Everything that it returns was checked against its hash when it was read from the medium. */
export class ViewDisk {
  readonly disk: PointDisk;
  readonly index: RunIndex;
  readonly #base: BaseDisk | null;
  readonly #deltas: DeltaFiles;
  readonly #cache: UnitCache;
  readonly #blocks: BlockCache;
  readonly #placeOf: (entry: number) => EntryPlace;
  readonly #windows = new Map<number, Segment[]>();

  constructor(options: ViewDiskOptions) {
    this.disk = options.disk;
    this.index = options.index;
    this.#base = options.base;
    this.#deltas = options.deltas;
    this.#cache = options.cache;
    this.#blocks = options.blocks;
    this.#placeOf = options.placeOf;
  }

  /** Fills `into` from `offsetBytes`, any alignment, within the disk. */
  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    const endBytes = offsetBytes + into.length;
    assert(offsetBytes >= 0 && endBytes <= this.disk.sizeBytes, "within the disk");
    const reads: Promise<void>[] = [];
    const firstWindow = Math.floor(offsetBytes / windowSizeBytes);
    for (let window = firstWindow; window * windowSizeBytes < endBytes; window += 1) {
      for (const segment of this.#segmentsOf(window)) {
        const start = Math.max(segment.offsetBytes, offsetBytes);
        const end = Math.min(segment.endBytes, endBytes);
        if (start >= end) continue;
        const part = into.subarray(start - offsetBytes, end - offsetBytes);
        reads.push(this.#readSegment(segment.entry, start, part));
      }
    }
    await settled(reads);
  }

  /** What is data and what reads as zeroes, in order, without gaps. */
  async extents(offsetBytes: number, lengthBytes: number): Promise<Extent[]> {
    const endBytes = offsetBytes + lengthBytes;
    assert(offsetBytes >= 0 && endBytes <= this.disk.sizeBytes, "within the disk");
    const extents: Extent[] = [];
    const add = (from: number, to: number, state: Extent["state"]) => {
      const last = extents.at(-1);
      if (last?.state === state) extents.pop();
      const start = last?.state === state ? last.offsetBytes : from;
      extents.push({ offsetBytes: start, lengthBytes: to - start, state });
    };
    for (const segment of this.index.segments(offsetBytes, endBytes)) {
      if (segment.entry === fromBase) await this.#addBaseExtents(segment, add);
      else
        add(segment.offsetBytes, segment.endBytes, segment.entry === fromZeroes ? "zero" : "data");
    }
    return extents;
  }

  /** SHA-256 of each block from `offsetBytes`, the disk's last over what it has; data is read only where no hash is known. */
  async blockHashes(offsetBytes: number, into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length; at += hashLengthBytes) {
      const blockAt = offsetBytes + (at / hashLengthBytes) * blockSizeBytes;
      into.set(await this.#blockHash(blockAt), at);
    }
  }

  async #blockHash(offsetBytes: number): Promise<Uint8Array> {
    const endBytes = Math.min(offsetBytes + blockSizeBytes, this.disk.sizeBytes);
    const lengthBytes = endBytes - offsetBytes;
    if (lengthBytes <= 0) return zeroBlockHash; // Beyond the disk as it is in this view.
    const segments = this.#segmentsOf(Math.floor(offsetBytes / windowSizeBytes));
    const only = segments.find((at) => at.offsetBytes <= offsetBytes && at.endBytes >= endBytes);
    if (only?.entry === fromZeroes) return sha256(zeroBlock.subarray(0, lengthBytes));
    const isWhole = lengthBytes === blockSizeBytes;
    if (only?.entry === fromBase && isWhole) {
      return hashOfEntry((await this.#base?.hashes(offsetBytes, 1)) ?? zeroBlockHash);
    }
    if (only !== undefined && only.entry >= 0) {
      const known = await this.#pieceHash(only.entry, offsetBytes, endBytes);
      if (known !== null) return known;
    }
    const bytes = Buffer.alloc(lengthBytes);
    await this.read(offsetBytes, bytes);
    return sha256(bytes);
  }

  /** The hash of the piece when it is exactly the run. */
  #pieceHash(entry: number, offsetBytes: number, endBytes: number): Promise<Uint8Array | null> {
    const place = this.#placeOf(entry);
    return this.#deltas.use(place.file, async (reader) => {
      const unit = unitAt(reader, place.entry, offsetBytes);
      if (unit.startBytes !== offsetBytes || unit.endBytes !== endBytes) return null;
      const key = `${place.file.path} ${place.entry} list`;
      const list = await this.#cache.get(key, () => reader.readPieceList(place.entry));
      return list.subarray(unit.piece * hashLengthBytes, (unit.piece + 1) * hashLengthBytes);
    });
  }

  #segmentsOf(window: number): Segment[] {
    const known = this.#windows.get(window);
    if (known !== undefined) return known;
    const segments = this.index.windowSegments(window);
    this.#windows.set(window, segments);
    if (this.#windows.size > resolvedWindowsMax) {
      const [oldest] = this.#windows.keys();
      if (oldest !== undefined) this.#windows.delete(oldest);
    }
    return segments;
  }

  async #readSegment(entry: number, offsetBytes: number, into: Uint8Array): Promise<void> {
    if (entry === fromZeroes) into.fill(0);
    else if (entry === fromBase) await this.#readBase(offsetBytes, into);
    else await this.#readDelta(this.#placeOf(entry), offsetBytes, into);
  }

  async #readBase(offsetBytes: number, into: Uint8Array): Promise<void> {
    const base = this.#base;
    if (base === null) {
      into.fill(0); // The disk came into being at a size of zero: all that it holds is in deltas.
      return;
    }
    const bounds = { startBytes: 0, endBytes: Number.MAX_SAFE_INTEGER };
    await this.#readUnits(bounds, offsetBytes, into, {
      whole: (at, part) => base.read(at, part),
      part: (at, part, skipBytes) => {
        const load = (block: Uint8Array) => base.read(at, block);
        const unit = { lengthBytes: blockSizeBytes, load };
        return this.#blocks.copy(`${base.identity} ${at}`, unit, part, skipBytes);
      },
    });
  }

  #readDelta(place: EntryPlace, offsetBytes: number, into: Uint8Array): Promise<void> {
    const { file, entry } = place;
    return this.#deltas.use(file, async (reader) => {
      const { index } = reader;
      const startBytes = index.offsetBytes(entry);
      const bounds = { startBytes, endBytes: index.endBytes(entry) };
      const isInside = offsetBytes >= startBytes && offsetBytes + into.length <= bounds.endBytes;
      assert(isInside && !index.isZero(entry), "the view's index agrees with the delta's");
      if (index.codec(entry) !== "raw") {
        const load = async () => (await reader.readStored(entry)).data;
        const data = await this.#cache.get(`${file.path} ${entry}`, load);
        into.set(data.subarray(offsetBytes - startBytes, offsetBytes - startBytes + into.length));
        return;
      }
      // Few reads want a whole chunk: its list is kept for the next one.
      const listOf = () =>
        this.#cache.get(`${file.path} ${entry} list`, () => reader.readPieceList(entry));
      const pieceAt = (at: number) => pieceCountOf(startBytes, at - startBytes + 1) - 1;
      await this.#readUnits(bounds, offsetBytes, into, {
        whole: async (at, part) => {
          const count = pieceCountOf(at, part.length);
          await reader.readPieces(entry, pieceAt(at), count, part, await listOf());
        },
        part: (at, part, skipBytes) => {
          const unit = unitAt(reader, entry, at);
          const load = async (piece: Uint8Array) => {
            await reader.readPieces(entry, unit.piece, 1, piece, await listOf());
          };
          const lengthBytes = unit.endBytes - unit.startBytes;
          const key = `${file.path} ${entry} ${unit.piece}`;
          return this.#blocks.copy(key, { lengthBytes, load }, part, skipBytes);
        },
      });
    });
  }

  /**
   * Reads a run cut at multiples of 64 KiB and at `bounds`: units that are wanted whole go straight into the caller's
   * buffer, one that is wanted in part is read whole, checked, and kept.
   */
  async #readUnits(
    bounds: { startBytes: number; endBytes: number },
    offsetBytes: number,
    into: Uint8Array,
    how: {
      whole: (offsetBytes: number, into: Uint8Array) => Promise<void>;
      part: (unitAtBytes: number, part: Uint8Array, skipBytes: number) => Promise<void>;
    },
  ): Promise<void> {
    const endBytes = offsetBytes + into.length;
    const reads: Promise<void>[] = [];
    let wholeFrom = offsetBytes;
    const readWhole = (to: number) => {
      if (to <= wholeFrom) return;
      reads.push(how.whole(wholeFrom, into.subarray(wholeFrom - offsetBytes, to - offsetBytes)));
    };
    for (let at = offsetBytes; at < endBytes; ) {
      const block = Math.floor(at / blockSizeBytes) * blockSizeBytes;
      const unitStart = Math.max(block, bounds.startBytes);
      const unitEnd = Math.min(block + blockSizeBytes, bounds.endBytes);
      const end = Math.min(unitEnd, endBytes);
      if (at !== unitStart || end !== unitEnd) {
        readWhole(at);
        wholeFrom = end;
        const part = into.subarray(at - offsetBytes, end - offsetBytes);
        reads.push(how.part(unitStart, part, at - unitStart));
      }
      at = end;
    }
    readWhole(endBytes);
    await settled(reads);
  }

  async #addBaseExtents(
    segment: Segment,
    add: (from: number, to: number, state: Extent["state"]) => void,
  ): Promise<void> {
    if (this.#base === null) return add(segment.offsetBytes, segment.endBytes, "zero");
    let at = segment.offsetBytes;
    while (at < segment.endBytes) {
      const block = Math.floor(at / blockSizeBytes) * blockSizeBytes;
      const left = Math.ceil((segment.endBytes - block) / blockSizeBytes);
      const count = Math.min(blocksAtOnce, left);
      const entries = await this.#base.hashes(block, count);
      const stop = Math.min(block + count * blockSizeBytes, segment.endBytes);
      if (isZeroes(entries)) {
        add(at, stop, "zero");
        at = stop;
        continue;
      }
      for (let place = 0; at < stop; place += 1) {
        const entry = entries.subarray(place * hashLengthBytes, (place + 1) * hashLengthBytes);
        const end = Math.min(block + (place + 1) * blockSizeBytes, stop);
        add(at, end, isAbsent(entry) ? "zero" : "data");
        at = end;
      }
    }
  }
}

/** The piece of an entry that has the byte at `offsetBytes`. */
function unitAt(reader: DeltaReader, entry: number, offsetBytes: number) {
  const block = Math.floor(offsetBytes / blockSizeBytes) * blockSizeBytes;
  const entryStart = reader.index.offsetBytes(entry);
  return {
    piece: pieceCountOf(entryStart, offsetBytes - entryStart + 1) - 1,
    startBytes: Math.max(block, entryStart),
    endBytes: Math.min(block + blockSizeBytes, reader.index.endBytes(entry)),
  };
}

/** Waits for all, so that nothing writes into the caller's buffer any more; then rejects with the first failure. */
async function settled(work: readonly Promise<void>[]): Promise<void> {
  if (work.length === 1) return work[0];
  for (const result of await Promise.allSettled(work)) {
    if (result.status === "rejected") throw result.reason;
  }
}

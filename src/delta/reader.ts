import assert from "node:assert/strict";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import type { HashHex } from "../core/ids.ts";
import type { PointHeader } from "../core/point.ts";
import { hexOf, sameBytes } from "../format/bytes.ts";
import { checkPieceList, checkPieces } from "../format/chunk.ts";
import { type Codec, decodeZstdPayload } from "../format/codec.ts";
import { deltaCorrupt } from "../format/delta-corrupt.ts";
import { decodeHeader, diskReachBytesOf } from "../format/delta-header.ts";
import { type DeltaIndex, pieceStartOf } from "../format/delta-index.ts";
import { checkIndex } from "../format/delta-index-check.ts";
import { hashLengthBytes, prologueLengthBytes } from "../format/delta-limits.ts";
import { type PieceHasher, pieceHasher } from "./piece-hasher.ts";
import { checkAgreement, readBack, readFront } from "./read-parts.ts";

/** Which delta is opened. */
export interface OpenDeltaOptions {
  readonly files: FileSystem;
  readonly path: string;
  /** What the ledger says the file holds; another content is DELTA_CORRUPT. */
  readonly expected?: { readonly contentRoot: HashHex };
}

/**
 * Opens a sealed delta: header, index and trailer are read, checked against every limit and against each other.
 * DELTA_CORRUPT (details.where, details.path), DELTA_VERSION, STORAGE_*.
 */
export async function openDelta(options: OpenDeltaOptions): Promise<DeltaReader> {
  const { files, path, expected } = options;
  await using opened = new AsyncDisposableStack();
  const file = opened.use(await files.open(path, "read"));
  return await inFile(path, async () => {
    const { prologue, headerBytes } = await readFront(file);
    const { trailer, index } = await readBack(file, await file.sizeBytes());
    const contentRoot = hexOf(trailer.contentRoot) as HashHex;
    if (expected !== undefined && expected.contentRoot !== contentRoot) {
      const details = { expectedRoot: expected.contentRoot, foundRoot: contentRoot };
      throw deltaCorrupt("trailer", "the file holds another content than expected", details);
    }
    checkAgreement(prologue, headerBytes, trailer);
    const header = decodeHeader(headerBytes);
    checkIndex(index, {
      diskReachBytes: diskReachBytesOf(header),
      chunksStartBytes: prologueLengthBytes + headerBytes.length,
      chunksEndBytes: trailer.indexPositionBytes,
      codec: prologue.codec,
    });
    opened.move();
    return new DeltaReader(file, {
      // The header's names and ids were checked against the same patterns that the brands stand for.
      header: header as PointHeader,
      index,
      contentRoot,
      sizeBytes: trailer.fileSizeBytes,
      codec: prologue.codec,
      usesThreads: files.usesThreads ?? false,
    });
  });
}

interface DeltaFacts {
  readonly header: PointHeader;
  readonly index: DeltaIndex;
  readonly contentRoot: HashHex;
  readonly sizeBytes: number;
  readonly codec: Codec;
  readonly usesThreads: boolean;
}

/** A chunk as it stands in the file, verified. */
export interface StoredChunkBytes {
  readonly codec: Codec;
  readonly list: Uint8Array;
  readonly payload: Uint8Array;
  /** The payload decompressed; the payload itself when raw. */
  readonly data: Uint8Array;
}

/** An open delta. Any number of reads may be in flight; every byte returned was checked against its hash. */
export class DeltaReader implements AsyncDisposable {
  readonly path: string;
  readonly header: PointHeader;
  readonly index: DeltaIndex;
  readonly contentRoot: HashHex;
  /** Of the file. */
  readonly sizeBytes: number;
  /** `zstd` when chunks may be compressed. */
  readonly codec: Codec;
  readonly #file: StoredFile;
  readonly #usesThreads: boolean;
  readonly #hasher: PieceHasher;

  /** Use `openDelta`. Takes the file over. */
  constructor(file: StoredFile, facts: DeltaFacts) {
    this.path = file.path;
    this.header = facts.header;
    this.index = facts.index;
    this.contentRoot = facts.contentRoot;
    this.sizeBytes = facts.sizeBytes;
    this.codec = facts.codec;
    this.#file = file;
    this.#usesThreads = facts.usesThreads;
    this.#hasher = pieceHasher(facts);
  }

  /** Fills `into`, exactly as long as the extent, with its verified content (zeroes for a zero extent). DELTA_CORRUPT. */
  async readChunk(entry: number, into: Uint8Array): Promise<void> {
    assert(into.length === this.index.lengthBytes(entry), "a chunk is read whole");
    if (this.index.isZero(entry)) into.fill(0);
    else into.set((await this.readStored(entry)).data);
  }

  /**
   * Fills `into`, exactly as long as the pieces, with verified pieces of a data extent. A raw chunk costs these pieces and the
   * piece list, unless `knownList` is what `readPieceList` gave; a compressed one is read whole. DELTA_CORRUPT.
   */
  async readPieces(
    entry: number,
    firstPiece: number,
    pieceCount: number,
    into: Uint8Array,
    knownList: Uint8Array | null = null,
  ): Promise<void> {
    const { index } = this;
    const [offsetBytes, lengthBytes] = [index.offsetBytes(entry), index.lengthBytes(entry)];
    assert(!index.isZero(entry) && firstPiece >= 0 && pieceCount > 0);
    assert(firstPiece + pieceCount <= index.pieceCount(entry), "the chunk lacks these pieces");
    const start = pieceStartOf(offsetBytes, lengthBytes, firstPiece);
    const end = pieceStartOf(offsetBytes, lengthBytes, firstPiece + pieceCount);
    assert(into.length === end - start, "pieces are read whole");
    if (index.codec(entry) !== "raw") {
      into.set((await this.readStored(entry)).data.subarray(start, end));
      return;
    }
    await this.#inEntry(entry, async () => {
      const listLengthBytes = index.pieceCount(entry) * hashLengthBytes;
      const dataAt = index.storedPositionBytes(entry) + listLengthBytes + start;
      const [list] = await Promise.all([
        knownList ?? this.readPieceList(entry),
        readExactly(this.#file, into, dataAt),
      ]);
      if (pieceCount === 1) {
        // Handing a single piece to another thread costs what hashing it here does.
        checkPieces({ offsetBytes, lengthBytes, firstPiece, pieceCount }, into, list);
        return;
      }
      const hashes = await this.#hasher.list(offsetBytes + start, into);
      const listed = list.subarray(firstPiece * hashLengthBytes).subarray(0, hashes.length);
      if (sameBytes(hashes, listed)) return;
      checkPieces({ offsetBytes, lengthBytes, firstPiece, pieceCount }, into, list);
      throw deltaCorrupt("chunk", "the data changed while it was being checked");
    });
  }

  /** The verified piece list of a data extent, 32 bytes for each piece; the buffer belongs to the caller. DELTA_CORRUPT. */
  readPieceList(entry: number): Promise<Uint8Array> {
    assert(!this.index.isZero(entry), "a zero extent has no pieces");
    return this.#inEntry(entry, async () => {
      const list = Buffer.allocUnsafeSlow(this.index.pieceCount(entry) * hashLengthBytes);
      await readExactly(this.#file, list, this.index.storedPositionBytes(entry));
      checkPieceList(list, this.index.pieceListHash(entry));
      return list;
    });
  }

  /** A data extent as it is stored, list and every piece verified; the buffers belong to the caller. DELTA_CORRUPT. */
  async readStored(entry: number): Promise<StoredChunkBytes> {
    const { index } = this;
    const codec = index.codec(entry);
    assert(!index.isZero(entry) && codec !== null, "a zero extent is not stored");
    return this.#inEntry(entry, async () => {
      const stored = Buffer.allocUnsafeSlow(index.storedLengthBytes(entry));
      await readExactly(this.#file, stored, index.storedPositionBytes(entry));
      const pieceCount = index.pieceCount(entry);
      const list = stored.subarray(0, pieceCount * hashLengthBytes);
      checkPieceList(list, index.pieceListHash(entry));
      const [offsetBytes, lengthBytes] = [index.offsetBytes(entry), index.lengthBytes(entry)];
      const payload = stored.subarray(list.length);
      const expanding = { lengthBytes, usesThreads: this.#usesThreads };
      const data = codec === "raw" ? payload : await decodeZstdPayload(payload, expanding);
      checkPieces({ offsetBytes, lengthBytes, firstPiece: 0, pieceCount }, data, list);
      return { codec, list, payload, data };
    });
  }

  /** Closes the file; reads still in flight must have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }

  #inEntry<Value>(entry: number, work: () => Promise<Value>): Promise<Value> {
    const { index } = this;
    const extent = {
      disk: index.disk(entry),
      offsetBytes: index.offsetBytes(entry),
      lengthBytes: index.lengthBytes(entry),
    };
    return inFile(this.path, work, { entry, ...extent }, ` (${index.describe(entry)})`);
  }
}

async function readExactly(file: StoredFile, into: Uint8Array, positionBytes: number) {
  if ((await file.read(into, positionBytes)) === into.length) return;
  throw deltaCorrupt("chunk", "the file ends within it");
}

/** Adds path and place to what the decoders, who know neither, say. */
async function inFile<Value>(
  path: string,
  work: () => Promise<Value>,
  details: Fault["details"] = {},
  place = "",
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!isFault(error, "DELTA_CORRUPT", "DELTA_VERSION")) throw error;
    const message = `${path}: ${error.message}${place}`;
    const allDetails = { ...error.details, ...details, path };
    throw new Fault(error.code, message, allDetails, { cause: error });
  }
}

import assert from "node:assert/strict";
import { type Fault, isFault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import { KIB } from "../base/units.ts";
import type { HashHex } from "../core/ids.ts";
import type { StoredChunk } from "../core/journal.ts";
import type { PointHeader } from "../core/point.ts";
import { hexOf, sha256 } from "../format/bytes.ts";
import { type Codec, encodeZstdPayload } from "../format/codec.ts";
import { deltaCorrupt } from "../format/delta-corrupt.ts";
import { diskReachBytesOf, encodeHeader } from "../format/delta-header.ts";
import { DeltaIndexBuilder } from "../format/delta-index-builder.ts";
import { chunkSpanBytes, sectorSizeBytes, trailerLengthBytes } from "../format/delta-limits.ts";
import { encodePrologue } from "../format/delta-prologue.ts";
import { contentRootOf, encodeTrailer, indexLengthBytes } from "../format/delta-trailer.ts";
import { AppendStream, type Written } from "./append-stream.ts";
import { CompressionTrial } from "./compression-trial.ts";
import { type PieceHasher, pieceHasher } from "./piece-hasher.ts";
import type { DeltaReader } from "./reader.ts";
import { checkStoredShape, verifiedDataOf } from "./stored-chunk.ts";

/** From here on a copy costs more than a write of its own. */
const inPlaceMinBytes = 512 * KIB;

/**
 * How chunks are stored: all alike, or by the disk's place in the header, asked anew for each chunk. `zstd` stores a chunk compressed when
 * that is smaller. Where it is a function the delta may hold compressed chunks whatever it answers.
 */
export type CodecChoice = Codec | ((disk: number) => Codec);

/** What a new delta is made of. */
export interface CreateDeltaOptions {
  readonly files: FileSystem;
  /** Must not exist. */
  readonly path: string;
  readonly header: PointHeader;
  readonly codec: CodecChoice;
  readonly signal: AbortSignal;
}

/** What a finished delta file holds. */
export interface FinishedDelta {
  readonly contentRoot: HashHex;
  /** Of the file. */
  readonly sizeBytes: number;
  /** In data chunks, before the codec. */
  readonly dataBytes: number;
  /** In zero runs. */
  readonly zeroBytes: number;
}

/** Makes a delta file and writes its header. CONFIG_INVALID when the header cannot be one, STORAGE_* when the file cannot. */
export async function createDelta(options: CreateDeltaOptions): Promise<DeltaWriter> {
  options.signal.throwIfAborted();
  const header = encodeHeader(options.header);
  const file = await options.files.open(options.path, "create");
  const writer = new DeltaWriter(options, file, header);
  await writer.begin();
  return writer;
}

/**
 * Writes one delta file front to back. Calls may overlap; chunks stand in the file in the order of the calls. Memory is
 * bounded by a few buffers, 64 bytes per extent, and what the caller has in flight. After a rejection only disposing is left.
 */
export class DeltaWriter implements AsyncDisposable {
  readonly path: string;
  readonly #options: CreateDeltaOptions;
  readonly #file: StoredFile;
  readonly #header: Buffer;
  readonly #stream: AppendStream;
  readonly #hosting: { readonly usesThreads: boolean };
  readonly #hasher: PieceHasher;
  readonly #index = new DeltaIndexBuilder();
  /** Whether a reader must expect compressed chunks. */
  readonly #mayCompress: boolean;
  readonly #trial = new CompressionTrial();
  readonly #reachBytes: readonly number[];
  #lastTurn: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | null = null;
  #dataBytes = 0;
  #zeroBytes = 0;
  #state: "writing" | "finishing" | "finished" | "disposed" = "writing";

  /** Use `createDelta`. */
  constructor(options: CreateDeltaOptions, file: StoredFile, header: Buffer) {
    this.path = options.path;
    this.#options = options;
    this.#file = file;
    this.#header = header;
    this.#stream = new AppendStream(file);
    this.#hosting = { usesThreads: options.files.usesThreads ?? false };
    this.#hasher = pieceHasher(this.#hosting);
    this.#mayCompress = options.codec !== "raw";
    this.#reachBytes = diskReachBytesOf(options.header);
  }

  /** Called once, by `createDelta`. */
  async begin(): Promise<void> {
    const headerLengthBytes = this.#header.length;
    const headerHash = sha256(this.#header);
    const codec = this.#mayCompress ? "zstd" : "raw";
    await this.#stream.append(encodePrologue({ codec, headerLengthBytes, headerHash }));
    await this.#stream.append(this.#header);
  }

  /**
   * Adds a chunk: whole sectors, inside one 1 MiB window of the disk at place `disk` of the header. Extents of one delta must
   * not overlap. `data` may be reused when it resolves. Rejects with STORAGE_* or the signal's reason.
   */
  write(disk: number, offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#assertExtent(disk, offsetBytes, data.length);
    const windowOf = (at: number): number => Math.floor(at / chunkSpanBytes);
    assert(windowOf(offsetBytes) === windowOf(offsetBytes + data.length - 1), "crosses a window");
    return this.#inTurn(async (myTurn) => {
      const list = await this.#hasher.list(offsetBytes, data);
      const compressed = await this.#compress(disk, data);
      await myTurn;
      return await this.#store({ disk, offsetBytes, lengthBytes: data.length }, list, {
        codec: compressed === null ? "raw" : "zstd",
        payload: compressed ?? data,
      });
    });
  }

  /**
   * Adds a chunk as another writer stored it, without compressing again; each piece is compared with its hash first. DELTA_CORRUPT,
   * and the writer can still be gone on with. The buffers may be reused when it resolves.
   */
  async writeStored(disk: number, chunk: StoredChunk): Promise<void> {
    checkStoredShape(chunk, this.#reachBytes[disk] ?? 0);
    const { offsetBytes, lengthBytes, codec, list, payload } = chunk;
    const checking = { hasher: this.#hasher, ...this.#hosting };
    let refusal: Fault | null = null;
    await this.#inTurn(async (myTurn) => {
      const data = await verifiedDataOf(chunk, checking).catch(corruptionOf);
      await myTurn;
      if (!(data instanceof Uint8Array)) {
        refusal = data;
        return null;
      }
      const canKeep = codec === "raw" || this.#mayCompress;
      return await this.#store({ disk, offsetBytes, lengthBytes }, list, {
        codec: canKeep ? codec : "raw",
        payload: canKeep ? payload : data,
      });
    });
    if (refusal !== null) throw refusal;
  }

  async #compress(disk: number, data: Uint8Array): Promise<Buffer | null> {
    const { codec } = this.#options;
    const wanted = typeof codec === "function" ? codec(disk) : codec;
    if (wanted !== "zstd" || !this.#trial.shouldTry()) return null;
    const payload = await encodeZstdPayload(data, this.#hosting);
    this.#trial.tell({ isSmaller: payload !== null });
    return payload;
  }

  /** Adds a run of zeroes, whole sectors, of any length. */
  zero(disk: number, offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#assertExtent(disk, offsetBytes, lengthBytes);
    return this.#inTurn(async (myTurn) => {
      await myTurn;
      this.#index.addZero(disk, offsetBytes, lengthBytes);
      this.#zeroBytes += lengthBytes;
      return null;
    });
  }

  /**
   * Takes an extent of another delta as it is, without compressing again; its chunk is verified. `disk` is the place in this
   * delta's header. DELTA_CORRUPT when the chunk is damaged.
   */
  copyChunk(reader: DeltaReader, entry: number, disk: number): Promise<void> {
    const { index } = reader;
    const offsetBytes = index.offsetBytes(entry);
    const lengthBytes = index.lengthBytes(entry);
    if (index.isZero(entry)) return this.zero(disk, offsetBytes, lengthBytes);
    this.#assertExtent(disk, offsetBytes, lengthBytes);
    return this.#inTurn(async (myTurn) => {
      const stored = await reader.readStored(entry);
      const canKeep = stored.codec === "raw" || this.#mayCompress;
      await myTurn;
      return await this.#store({ disk, offsetBytes, lengthBytes }, stored.list, {
        codec: canKeep ? stored.codec : "raw",
        payload: canKeep ? stored.payload : stored.data,
      });
    });
  }

  /**
   * DELTA_CORRUPT unless all that was added so far, with the header, has this content root. Waits for calls under way.
   */
  async checkContent(expected: HashHex): Promise<void> {
    await this.#lastTurn;
    this.#throwIfDone();
    const root = contentRootOf(sha256(this.#header), this.#index.finish().logicalTable);
    checkRoot(hexOf(root) as HashHex, expected);
  }

  /**
   * Writes index and trailer and makes the file's content durable. The caller renames it and syncs the directory.
   * Waits for calls under way; no call may follow. DELTA_CORRUPT when extents overlap, or the root is not `expected`.
   */
  async finish(expected: HashHex | null = null): Promise<FinishedDelta> {
    assert(this.#state === "writing", "a delta is finished once");
    this.#state = "finishing";
    await this.#lastTurn;
    this.#throwIfDone();
    const index = this.#index.finish();
    const headerHash = sha256(this.#header);
    const contentRoot = contentRootOf(headerHash, index.logicalTable);
    if (expected !== null) checkRoot(hexOf(contentRoot) as HashHex, expected);
    const indexPositionBytes = this.#stream.positionBytes;
    const sizeBytes = indexPositionBytes + indexLengthBytes(index.entryCount) + trailerLengthBytes;
    const trailer = encodeTrailer({
      contentRoot,
      headerHash,
      placementHash: sha256(index.placementTable),
      indexPositionBytes,
      fileSizeBytes: sizeBytes,
      entryCount: index.entryCount,
      headerLengthBytes: this.#header.length,
    });
    for (const part of [index.logicalTable, index.placementTable, trailer]) {
      await this.#stream.append(part);
    }
    await this.#stream.flush();
    this.#options.signal.throwIfAborted();
    await this.#file.sync();
    await this.#file[Symbol.asyncDispose]();
    this.#state = "finished";
    return {
      contentRoot: hexOf(contentRoot) as HashHex,
      sizeBytes,
      dataBytes: this.#dataBytes,
      zeroBytes: this.#zeroBytes,
    };
  }

  /** Removes the file unless `finish` resolved. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === "finished" || this.#state === "disposed") return;
    this.#state = "disposed";
    this.#failure ??= { error: new Error("the delta was given up") };
    await this.#lastTurn;
    await this.#stream.settle();
    await this.#file[Symbol.asyncDispose]();
    await this.#options.files.remove(this.path);
  }

  async #store(
    extent: { disk: number; offsetBytes: number; lengthBytes: number },
    list: Uint8Array,
    { codec, payload }: { codec: Codec; payload: Uint8Array },
  ): Promise<Written | null> {
    this.#throwIfDone();
    this.#index.addChunk({
      ...extent,
      pieceListHash: sha256(list),
      storedPositionBytes: this.#stream.positionBytes,
      storedLengthBytes: list.length + payload.length,
      codec,
    });
    this.#dataBytes += extent.lengthBytes;
    await this.#stream.append(list);
    if (payload.length >= inPlaceMinBytes) return this.#stream.appendInPlace(payload);
    await this.#stream.append(payload);
    return null;
  }

  /**
   * Runs `work`; what follows `await myTurn` in it runs after the same part of the calls before it. What it returns is still
   * being written while the next one has its turn.
   */
  async #inTurn(work: (myTurn: Promise<void>) => Promise<Written | null>): Promise<void> {
    assert(this.#state === "writing", "the delta is finished or disposed");
    const before = this.#lastTurn;
    const ended = Promise.withResolvers<void>();
    this.#lastTurn = ended.promise;
    try {
      this.#throwIfDone();
      const stored = await work(before);
      ended.resolve();
      await stored?.written;
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    } finally {
      await before;
      ended.resolve();
    }
  }

  #throwIfDone(): void {
    if (this.#failure !== null) throw this.#failure.error;
    this.#options.signal.throwIfAborted();
  }

  #assertExtent(disk: number, offsetBytes: number, lengthBytes: number): void {
    const reachBytes = this.#reachBytes[disk];
    assert(reachBytes !== undefined, "the header lacks this disk");
    assert(offsetBytes % sectorSizeBytes === 0 && lengthBytes % sectorSizeBytes === 0);
    assert(offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= reachBytes);
  }
}

function checkRoot(found: HashHex, expected: HashHex): void {
  if (found === expected) return;
  const details = { expectedRoot: expected, foundRoot: found };
  throw deltaCorrupt("index", "what arrived is not what was sent", details);
}

/** Damage is an answer here; everything else is not. */
function corruptionOf(error: unknown): Fault {
  if (isFault(error, "DELTA_CORRUPT")) return error;
  throw error;
}

import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { HashHex } from "../core/ids.ts";
import { bytesOfHex, hexOf, sha256, viewOf } from "../format/bytes.ts";
import { encodeHeader } from "../format/delta-header.ts";
import { DeltaIndex } from "../format/delta-index.ts";
import {
  hashLengthBytes,
  indexEntriesMax,
  logicalEntryLengthBytes,
  placementEntryLengthBytes,
} from "../format/delta-limits.ts";
import { contentRootOf } from "../format/delta-trailer.ts";
import { type DeltaFile, openSealed } from "./delta-files.ts";
import { SequentialReader } from "./sequential-reader.ts";

/** Content root, hash of the header, number of entries, CRC-32 of these; the index's logical table follows. */
const frontLengthBytes = 2 * hashLengthBytes + 8;
/** Records of deltas that are gone, beyond as many as there are live ones, before the file is written anew. */
const deadRecordsMax = 64;

/** One delta's index; its placement table is not known here. */
export interface CachedIndex {
  readonly contentRoot: HashHex;
  readonly headerHash: Uint8Array;
  /** Valid until the next one is asked for. */
  readonly logicalTable: Uint8Array;
}

/**
 * The records of an index cache, front to back, up to the first that is not whole. `wanted` says whose tables are needed: those
 * are checked against their content root, and the scan ends at one that does not hold. Others come without a table.
 */
export async function* scanIndexCache(
  files: FileSystem,
  path: string,
  wanted: (contentRoot: HashHex) => boolean,
): AsyncGenerator<CachedIndex, void, undefined> {
  if ((await files.stat(path)) === null) return;
  await using file = await files.open(path, "read");
  const reader = new SequentialReader(file);
  for (;;) {
    const front = await reader.take(frontLengthBytes);
    if (front === null) return;
    const view = viewOf(front);
    const crcAt = frontLengthBytes - 4;
    const entryCount = view.getUint32(2 * hashLengthBytes, true);
    const isWhole = view.getUint32(crcAt, true) === crc32(front.subarray(0, crcAt));
    if (!isWhole || entryCount > indexEntriesMax) return;
    const contentRoot = hexOf(front.subarray(0, hashLengthBytes)) as HashHex;
    const headerHash = Buffer.from(front.subarray(hashLengthBytes, 2 * hashLengthBytes));
    const tableLengthBytes = entryCount * logicalEntryLengthBytes;
    if (!wanted(contentRoot)) {
      reader.skip(tableLengthBytes);
      yield { contentRoot, headerHash, logicalTable: new Uint8Array(0) };
      continue;
    }
    const logicalTable = await reader.take(tableLengthBytes);
    if (logicalTable === null) return;
    if (hexOf(contentRootOf(headerHash, logicalTable)) !== contentRoot) return;
    yield { contentRoot, headerHash, logicalTable };
  }
}

const noPlacement = { zeroes: new Uint8Array(0) };

/** The table as an index whose placement is all zeroes: only what is on the disks may be asked of it. */
export function logicalIndexOf(logicalTable: Uint8Array): DeltaIndex {
  const entryCount = logicalTable.length / logicalEntryLengthBytes;
  const lengthBytes = entryCount * placementEntryLengthBytes;
  if (noPlacement.zeroes.length < lengthBytes) noPlacement.zeroes = new Uint8Array(lengthBytes * 2);
  return new DeltaIndex(logicalTable, noPlacement.zeroes.subarray(0, lengthBytes));
}

/**
 * The indices of all deltas of a group in one file, in the order of the chain, so that a view over ten thousand deltas opens one
 * file and not ten thousand. It is derived: each record is checked against the ledger's content root when it is used, and what is
 * missing, torn or rotten is read from the delta itself. Kept by the writer, behind the seals.
 */
export class IndexCache {
  readonly #files: FileSystem;
  readonly #path: string;
  /** Roots in the order of the file; null when the file was not looked at or a write failed. */
  #roots: HashHex[] | null = null;
  #lengthBytes = 0;
  #refreshing: Promise<void> = Promise.resolve();

  constructor(files: FileSystem, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /**
   * Brings the file up to date with the chain that `deltas` gives, from old to new; `sealed` is the newest when nothing else has
   * changed. Never rejects: without the file views open slower.
   */
  refresh(deltas: () => readonly DeltaFile[], sealed: DeltaFile | null): Promise<void> {
    this.#refreshing = this.#refreshing.then(async () => {
      try {
        await this.#refreshNow(deltas, sealed);
      } catch (error) {
        if (!isFault(error)) throw error;
        this.#roots = null; // Looked at again next time; a reader stops at what is not whole.
      }
    });
    return this.#refreshing;
  }

  /** Resolves when no refresh is under way. */
  settled(): Promise<void> {
    return this.#refreshing;
  }

  async #refreshNow(all: () => readonly DeltaFile[], sealed: DeltaFile | null): Promise<void> {
    const roots = this.#roots ?? (await this.#lookAtFile());
    if (sealed !== null && this.#roots !== null) {
      // A look at the whole chain that was asked for before may have come upon it already.
      if (!roots.includes(sealed.contentRoot)) await this.#append(roots, [sealed]);
      return;
    }
    const deltas = all();
    const live = new Set(deltas.map((delta) => delta.contentRoot));
    const held = roots.filter((root) => live.has(root));
    const isPrefix = held.every((root, place) => root === deltas[place]?.contentRoot);
    if (isPrefix && roots.length - held.length <= held.length + deadRecordsMax) {
      await this.#append(roots, deltas.slice(held.length));
    } else await this.#rewrite(deltas);
  }

  async #lookAtFile(): Promise<HashHex[]> {
    const roots: HashHex[] = [];
    this.#lengthBytes = 0;
    for await (const cached of scanIndexCache(this.#files, this.#path, () => true)) {
      roots.push(cached.contentRoot);
      this.#lengthBytes += frontLengthBytes + cached.logicalTable.length;
    }
    return roots;
  }

  async #append(roots: HashHex[], deltas: readonly DeltaFile[]): Promise<void> {
    this.#roots = null;
    if (deltas.length > 0) {
      const isThere = (await this.#files.stat(this.#path)) !== null;
      await using file = await this.#files.open(this.#path, isThere ? "write" : "create");
      for (const delta of deltas) {
        const record = await recordOf(this.#files, delta);
        await file.write(record, this.#lengthBytes);
        this.#lengthBytes += record.length;
        roots.push(delta.contentRoot);
      }
    }
    this.#roots = roots;
  }

  async #rewrite(deltas: readonly DeltaFile[]): Promise<void> {
    this.#roots = null;
    const partPath = `${this.#path}.part`;
    await this.#files.remove(partPath);
    let lengthBytes = 0;
    {
      await using file = await this.#files.open(partPath, "create");
      for await (const { record } of this.#records(deltas)) {
        await file.write(record, lengthBytes);
        lengthBytes += record.length;
      }
    }
    await this.#files.rename(partPath, this.#path);
    await this.#files.syncDirectory(dirname(this.#path));
    this.#lengthBytes = lengthBytes;
    this.#roots = deltas.map((delta) => delta.contentRoot);
  }

  async *#records(deltas: readonly DeltaFile[]) {
    for await (const { delta, cached } of indicesInOrder(this.#files, this.#path, deltas)) {
      yield { record: cached === null ? await recordOf(this.#files, delta) : encodeRecord(cached) };
    }
  }
}

/**
 * The chain's deltas in their order, each with what the cache holds of it, or null where the delta itself must be opened: because the
 * cache lacks it, or has it out of order.
 */
export async function* indicesInOrder<Delta extends DeltaFile>(
  files: FileSystem,
  cachePath: string,
  chain: readonly Delta[],
): AsyncGenerator<{ readonly delta: Delta; readonly cached: CachedIndex | null }, void, undefined> {
  const places = new Map(chain.map((delta, place) => [delta.contentRoot, place]));
  let next = 0;
  const isWanted = (root: HashHex) => (places.get(root) ?? -1) >= next;
  for await (const cached of scanIndexCache(files, cachePath, isWanted)) {
    const place = places.get(cached.contentRoot) ?? -1;
    if (place < next) continue;
    for (; next < place; next += 1) yield { delta: chain[next]!, cached: null };
    yield { delta: chain[next]!, cached };
    next += 1;
    if (next === chain.length) return;
  }
  for (; next < chain.length; next += 1) yield { delta: chain[next]!, cached: null };
}

async function recordOf(files: FileSystem, delta: DeltaFile): Promise<Buffer> {
  await using reader = await openSealed(files, delta);
  return encodeRecord({
    contentRoot: reader.contentRoot,
    headerHash: sha256(encodeHeader(reader.header)),
    logicalTable: reader.index.logicalTable,
  });
}

function encodeRecord(index: CachedIndex): Buffer {
  const { contentRoot, headerHash, logicalTable } = index;
  const bytes = Buffer.alloc(frontLengthBytes + logicalTable.length);
  const view = viewOf(bytes);
  const crcAt = frontLengthBytes - 4;
  bytes.set(bytesOfHex(contentRoot, hashLengthBytes), 0);
  bytes.set(headerHash, hashLengthBytes);
  view.setUint32(2 * hashLengthBytes, logicalTable.length / logicalEntryLengthBytes, true);
  view.setUint32(crcAt, crc32(bytes.subarray(0, crcAt)), true);
  bytes.set(logicalTable, frontLengthBytes);
  return bytes;
}

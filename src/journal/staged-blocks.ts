import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { GIB } from "../base/units.ts";
import type { PointId } from "../core/ids.ts";
import type { StagedDisk, StagedStatus, StageRequest } from "../core/journal.ts";
import {
  blockSizeBytes,
  chunkPiecesMax,
  hashLengthBytes,
  windowSizeBytes,
} from "../core/limits.ts";
import { sha256 } from "../format/bytes.ts";
import { isAbsent } from "./base-disk.ts";
import {
  type BlockStore,
  hashesOfBlocks,
  hashOfBlock,
  isZeroes,
  zeroBlock,
  zeroBlockHash,
} from "./block-store.ts";
import { type StagedRecord, writeStagedRecord } from "./staged-status.ts";

/** How far ahead of the writes the record is kept, so that it is not rewritten for each of them. */
const writeAheadBytes = GIB;
/** Hash entries written in one go. */
const blocksAtOnce = 2048;

/** What staged parts are compared with: the head's content; nothing for a staged base. */
export interface StagedOver extends AsyncDisposable {
  /** SHA-256 of each block from `offsetBytes`, the disk's last over what it has. */
  blockHashes(offsetBytes: number, into: Uint8Array): Promise<void>;
}

/** A run of staged blocks. */
export interface StagedRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Null where zeroes are staged. */
  readonly data: Uint8Array | null;
}

/**
 * Staged parts of one disk in a block store. In a staged base a block that is absent reads as zeroes; in parts it is as in the
 * head, and zeroes are staged by the hash of zeroes. After a crash the hashes of whatever was written since the last checkpoint
 * are worked out again from the data, so a hash that `hashes` gives is always that of the bytes that are there.
 */
export class StagedBlocks implements StagedDisk {
  readonly #files: FileSystem;
  readonly #recordPath: string;
  readonly #store: BlockStore;
  readonly #over: StagedOver | null;
  readonly #removeFiles: () => Promise<void>;
  #record: StagedRecord;
  #recording: Promise<void> = Promise.resolve();

  constructor(options: {
    files: FileSystem;
    recordPath: string;
    record: StagedRecord;
    store: BlockStore;
    over: StagedOver | null;
    removeFiles: () => Promise<void>;
  }) {
    this.#files = options.files;
    this.#recordPath = options.recordPath;
    this.#record = options.record;
    this.#store = options.store;
    this.#over = options.over;
    this.#removeFiles = options.removeFiles;
  }

  get status(): StagedStatus {
    const { kind, disk, identity, sizeBytes, syncId, resumeAtBytes } = this.#record;
    return { kind, disk, identity, sizeBytes, syncId, resumeAtBytes };
  }

  async hashes(offsetBytes: number, into: Uint8Array): Promise<void> {
    assert(offsetBytes % blockSizeBytes === 0 && into.length % hashLengthBytes === 0);
    const entries = Buffer.alloc(into.length);
    await this.#store.readHashes(offsetBytes / blockSizeBytes, entries);
    if (this.#over !== null) await this.#over.blockHashes(offsetBytes, into);
    if (isZeroes(entries)) return this.#hashesOfNothing(offsetBytes, into);
    for (let at = 0; at < into.length; at += hashLengthBytes) {
      const entry = entries.subarray(at, at + hashLengthBytes);
      const isStaged = !isAbsent(entry);
      if (!isStaged && this.#over !== null) continue;
      const blockAtBytes = offsetBytes + (at / hashLengthBytes) * blockSizeBytes;
      into.set(await this.#hashAsRead(blockAtBytes, isStaged ? entry : zeroBlockHash), at);
    }
  }

  /** Nothing is staged in the run: parts show what they are over, a base zeroes; a large empty disk is mostly this. */
  async #hashesOfNothing(offsetBytes: number, into: Uint8Array): Promise<void> {
    if (this.#over !== null) return;
    for (let at = 0; at < into.length; at += hashLengthBytes) into.set(zeroBlockHash, at);
    const lastAt = into.length - hashLengthBytes;
    const lastBlockAtBytes = offsetBytes + (lastAt / hashLengthBytes) * blockSizeBytes;
    into.set(await this.#hashAsRead(lastBlockAtBytes, zeroBlockHash), lastAt);
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#checkRun(offsetBytes, data.length);
    await this.#announce(offsetBytes + data.length);
    await this.#store.write(offsetBytes, data);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#checkRun(offsetBytes, lengthBytes);
    await this.#announce(offsetBytes + lengthBytes);
    await this.#store.zeroRaw(offsetBytes, lengthBytes);
    const firstBlock = offsetBytes / blockSizeBytes;
    const blocks = Math.ceil(lengthBytes / blockSizeBytes);
    if (this.#record.kind === "base") return this.#store.clearHashes(firstBlock, blocks);
    for (let done = 0; done < blocks; done += blocksAtOnce) {
      const hashes = Buffer.alloc(Math.min(blocksAtOnce, blocks - done) * hashLengthBytes);
      await this.#store.writeHashes(firstBlock + done, hashes.fill(zeroBlockHash));
    }
  }

  async checkpoint(resumeAtBytes: number): Promise<void> {
    await this.#store.sync();
    await this.#rewrite((record) => ({ ...record, resumeAtBytes }));
  }

  async discard(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await this.#removeFiles();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#recording.catch(() => {}); // Whoever waited for it was told.
    await this.#store[Symbol.asyncDispose]();
    await this.#over?.[Symbol.asyncDispose]();
  }

  /** Durable, cut to the disk's size at the point, and marked as being sealed with it. */
  async prepareToSeal(point: PointId, sizeBytes: number): Promise<void> {
    if (sizeBytes < this.#record.sizeBytes) await this.#cutTo(sizeBytes);
    await this.#store.sync();
    await this.#rewrite((record) => ({
      ...record,
      sizeBytes: Math.min(sizeBytes, record.sizeBytes),
      adoptedBy: point,
    }));
  }

  /**
   * What is staged, in order: runs of one kind within a window, `data` null for zeroes. Data is checked against the hashes it was
   * staged with; the buffer is used again for the next run.
   */
  async *runs(endBytes: number): AsyncGenerator<StagedRun, void, undefined> {
    const entries = Buffer.alloc(blocksAtOnce * hashLengthBytes);
    const buffer = Buffer.alloc(windowSizeBytes);
    for (let first = 0; first * blockSizeBytes < endBytes; first += blocksAtOnce) {
      await this.#store.readHashes(first, entries);
      if (isZeroes(entries)) continue;
      for (let from = 0; from < blocksAtOnce; ) {
        const kind = kindOf(entries, from);
        let to = from + 1;
        while (to % chunkPiecesMax !== 0 && kindOf(entries, to) === kind) to += 1;
        const offsetBytes = (first + from) * blockSizeBytes;
        const lengthBytes = Math.min((first + to) * blockSizeBytes, endBytes) - offsetBytes;
        const hashes = entries.subarray(from * hashLengthBytes, to * hashLengthBytes);
        from = to;
        if (kind === "absent" || lengthBytes <= 0) continue;
        const data = kind === "zero" ? null : buffer.subarray(0, lengthBytes);
        if (data !== null) await this.#readChecked(offsetBytes, data, hashes);
        yield { offsetBytes, lengthBytes, data };
      }
    }
  }

  /** Repairs what a crash left, and goes on with the sync asked for: under another id it starts over, comparing what is staged. */
  async begin(request: StageRequest): Promise<void> {
    await this.#reconcile();
    const { sizeBytes, syncId } = request;
    if (sizeBytes < this.#record.sizeBytes) await this.#cutTo(sizeBytes);
    await this.#store.resize(sizeBytes);
    await this.#store.sync();
    await this.#rewrite((record) => {
      const resumeAtBytes = record.syncId === syncId ? record.resumeAtBytes : 0;
      const writtenBelowBytes = resumeAtBytes;
      return { ...record, sizeBytes, syncId, resumeAtBytes, writtenBelowBytes, adoptedBy: null };
    });
  }

  /** Makes hashes and data agree again where a crash may have parted them. */
  async #reconcile(): Promise<void> {
    const { resumeAtBytes, writtenBelowBytes, sizeBytes } = this.#record;
    const endBytes = Math.min(writtenBelowBytes, sizeBytes);
    const entry = Buffer.alloc(hashLengthBytes);
    const buffer = Buffer.alloc(blockSizeBytes);
    // A short last block below `resumeAtBytes` is done: its staged zeroes must not be taken for nothing staged.
    const firstBlock = Math.ceil(resumeAtBytes / blockSizeBytes);
    for (let block = firstBlock; block * blockSizeBytes < endBytes; block += 1) {
      await this.#store.readRaw(block * blockSizeBytes, buffer);
      await this.#store.readHashes(block, entry);
      if (isZeroes(buffer)) {
        // In parts a block that reads as zeroes may just as well not be staged: it is compared with the head again.
        if (!isAbsent(entry)) await this.#store.clearHashes(block, 1);
        continue;
      }
      const hash = sha256(buffer);
      if (!hash.equals(entry)) await this.#store.writeHashes(block, hash);
    }
  }

  #checkRun(offsetBytes: number, lengthBytes: number): void {
    const endBytes = offsetBytes + lengthBytes;
    const { sizeBytes } = this.#record;
    assert(offsetBytes % blockSizeBytes === 0 && lengthBytes > 0 && endBytes <= sizeBytes);
    assert(endBytes % blockSizeBytes === 0 || endBytes === sizeBytes, "whole blocks are staged");
  }

  /** The record says how far writes may have come before they come so far. */
  async #announce(endBytes: number): Promise<void> {
    if (endBytes <= this.#record.writtenBelowBytes) return;
    await this.#rewrite((record) => {
      if (endBytes <= record.writtenBelowBytes) return record;
      const writtenBelowBytes = Math.ceil(endBytes / writeAheadBytes) * writeAheadBytes;
      return { ...record, writtenBelowBytes };
    });
  }

  /** One rewrite after the other; an unchanged record is not written. */
  #rewrite(change: (record: StagedRecord) => StagedRecord): Promise<void> {
    const work = this.#recording.then(async () => {
      const record = change(this.#record);
      if (record === this.#record) return;
      await writeStagedRecord(this.#files, this.#recordPath, record);
      this.#record = record;
    });
    this.#recording = work.catch(() => {}); // A failed rewrite does not fail those after it.
    return work;
  }

  async #readChecked(offsetBytes: number, data: Uint8Array, hashes: Uint8Array): Promise<void> {
    await this.#store.readRaw(offsetBytes, data);
    if (hashesOfBlocks(data).equals(hashes)) return;
    const { raw } = this.#store.paths;
    const message = `${raw}: what was staged at ${offsetBytes} does not read back`;
    throw new Fault("BASE_CORRUPT", message, { path: raw, offsetBytes, lengthBytes: data.length });
  }

  /** The disk shrank while it was read: what is beyond its size at the point must never come back. */
  async #cutTo(sizeBytes: number): Promise<void> {
    const lastBlock = Math.floor(sizeBytes / blockSizeBytes);
    const resumeAtBytes = Math.min(this.#record.resumeAtBytes, lastBlock * blockSizeBytes);
    const writtenBelowBytes = Math.max(this.#record.writtenBelowBytes, sizeBytes);
    await this.#rewrite((record) => ({ ...record, resumeAtBytes, writtenBelowBytes }));
    await this.#store.resize(sizeBytes);
    if (sizeBytes % blockSizeBytes === 0) return;
    const entry = Buffer.alloc(hashLengthBytes);
    await this.#store.readHashes(lastBlock, entry);
    if (isAbsent(entry)) return;
    const bytes = Buffer.alloc(sizeBytes % blockSizeBytes);
    await this.#store.readRaw(lastBlock * blockSizeBytes, bytes);
    await this.#store.writeHashes(lastBlock, hashOfBlock(bytes));
  }

  /** The hash over the block's real length: only the disk's last may be short, and is then read. */
  async #hashAsRead(blockAtBytes: number, hash: Uint8Array): Promise<Uint8Array> {
    const lengthBytes = Math.min(blockSizeBytes, this.#record.sizeBytes - blockAtBytes);
    if (lengthBytes >= blockSizeBytes || lengthBytes <= 0) return hash;
    if (zeroBlockHash.equals(hash)) return sha256(zeroBlock.subarray(0, lengthBytes));
    const bytes = Buffer.alloc(lengthBytes);
    await this.#store.readRaw(blockAtBytes, bytes);
    return sha256(bytes);
  }
}

function kindOf(entries: Uint8Array, block: number): "absent" | "zero" | "data" {
  const entry = entries.subarray(block * hashLengthBytes, (block + 1) * hashLengthBytes);
  if (isAbsent(entry)) return "absent";
  return zeroBlockHash.equals(entry) ? "zero" : "data";
}

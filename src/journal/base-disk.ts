import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { DiskIdentity } from "../core/ids.ts";
import { blockSizeBytes, hashLengthBytes } from "../core/limits.ts";
import {
  BlockStore,
  type BlockStorePaths,
  hashesOfBlocks,
  isZeroes,
  zeroBlockHash,
} from "./block-store.ts";
import { HashPages } from "./hash-pages.ts";

/**
 * A disk of the base. A block without a hash reads as zeroes and is checked to be zeroes. A block is only ever replaced
 * whole, and only when deltas that every point still open lies above cover it whole: no reader looks at a block in flux.
 */
export class BaseDisk implements AsyncDisposable {
  readonly identity: DiskIdentity;
  readonly #store: BlockStore;
  readonly #hashPages: HashPages;

  private constructor(identity: DiskIdentity, store: BlockStore) {
    this.identity = identity;
    this.#store = store;
    this.#hashPages = new HashPages(store);
  }

  /** STORAGE_MISSING when the base has no such disk. */
  static async open(
    files: FileSystem,
    paths: BlockStorePaths,
    identity: DiskIdentity,
    mode: "read" | "write",
  ): Promise<BaseDisk> {
    return new BaseDisk(identity, await BlockStore.open(files, paths, mode));
  }

  get rawPath(): string {
    return this.#store.paths.raw;
  }

  sizeBytes(): Promise<number> {
    return this.#store.sizeBytes();
  }

  /** Fills `into` (whole blocks from a block's start, as if the disk went on with zeroes) and checks every block. BASE_CORRUPT. */
  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    assert(offsetBytes % blockSizeBytes === 0 && into.length % blockSizeBytes === 0);
    const entries = await this.hashes(offsetBytes, into.length / blockSizeBytes);
    await this.#store.readRaw(offsetBytes, into);
    for (let at = 0; at < into.length; at += blockSizeBytes) {
      const entry = entries.subarray((at / blockSizeBytes) * hashLengthBytes).subarray(0, 32);
      if (!isBlockGood(into.subarray(at, at + blockSizeBytes), entry)) {
        throw this.#corrupt(offsetBytes + at);
      }
    }
  }

  /** The hash entries of `count` blocks from `offsetBytes`; absent ones are all zeroes. */
  hashes(offsetBytes: number, count: number): Promise<Uint8Array> {
    return this.#hashPages.entries(offsetBytes / blockSizeBytes, count);
  }

  /** Replaces whole blocks (the disk's last may be short). Durable after `sync`. */
  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#hashPages.forget();
    if (isZeroes(data)) return this.zero(offsetBytes, data.length);
    await this.#store.write(offsetBytes, data);
  }

  /** Makes whole blocks read as zeroes, whatever an interrupted write left there. */
  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    assert(offsetBytes % blockSizeBytes === 0 && lengthBytes > 0);
    this.#hashPages.forget();
    await this.#store.zeroRaw(offsetBytes, lengthBytes);
    const blocks = Math.ceil(lengthBytes / blockSizeBytes);
    await this.#store.clearHashes(offsetBytes / blockSizeBytes, blocks);
  }

  async resize(sizeBytes: number): Promise<void> {
    this.#hashPages.forget();
    await this.#store.resize(sizeBytes);
  }

  sync(): Promise<void> {
    return this.#store.sync();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#store[Symbol.asyncDispose]();
  }

  #corrupt(offsetBytes: number): Fault {
    const { raw } = this.#store.paths;
    const message = `${raw}: the block at ${offsetBytes} does not have the hash it was written with`;
    return new Fault("BASE_CORRUPT", message, {
      path: raw,
      disk: this.identity,
      offsetBytes,
      lengthBytes: blockSizeBytes,
    });
  }
}

function isBlockGood(block: Uint8Array, entry: Uint8Array): boolean {
  if (isAbsent(entry)) return isZeroes(block);
  return Buffer.compare(hashesOfBlocks(block), entry) === 0;
}

/** Whether the hash entry says that the block was never written. */
export function isAbsent(entry: Uint8Array): boolean {
  return entry.every((byte) => byte === 0);
}

/** The hash that a base's entry stands for. */
export function hashOfEntry(entry: Uint8Array): Uint8Array {
  return isAbsent(entry) ? zeroBlockHash : entry;
}

import { KIB } from "../base/units.ts";
import { hashLengthBytes } from "../core/limits.ts";
import type { BlockStore } from "./block-store.ts";

/** 2048 hashes: 128 MiB of disk. */
const pageLengthBytes = 64 * KIB;
const pageBlocks = pageLengthBytes / hashLengthBytes;
const pagesMax = 64;

/** The hash entries of a block store, read in pages; the pages used last are kept, at most 4 MiB of them. */
export class HashPages {
  readonly #store: BlockStore;
  readonly #pages = new Map<number, Promise<Uint8Array>>();

  constructor(store: BlockStore) {
    this.#store = store;
  }

  /** The entries of `count` blocks from `firstBlock`; not to be written to. */
  async entries(firstBlock: number, count: number): Promise<Uint8Array> {
    const page = Math.floor(firstBlock / pageBlocks);
    const within = firstBlock - page * pageBlocks;
    const fits = Math.min(count, pageBlocks - within);
    const bytes = await this.#page(page);
    const found = bytes.subarray(within * hashLengthBytes, (within + fits) * hashLengthBytes);
    if (fits === count) return found;
    const rest = await this.entries(firstBlock + fits, count - fits);
    return Buffer.concat([found, rest]);
  }

  /** Drops what was read: the file is about to change. */
  forget(): void {
    this.#pages.clear();
  }

  #page(page: number): Promise<Uint8Array> {
    const known = this.#pages.get(page);
    this.#pages.delete(page);
    const bytes = known ?? this.#readPage(page);
    this.#pages.set(page, bytes); // Last used is last in the map.
    const [oldest] = this.#pages.keys();
    if (this.#pages.size > pagesMax && oldest !== undefined) this.#pages.delete(oldest);
    return bytes;
  }

  async #readPage(page: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(pageLengthBytes);
    try {
      await this.#store.readHashes(page * pageBlocks, bytes);
    } catch (error) {
      this.#pages.delete(page); // A failure is not kept: the next read asks the medium again.
      throw error;
    }
    return bytes;
  }
}

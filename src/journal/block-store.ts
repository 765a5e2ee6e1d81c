import assert from "node:assert/strict";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import { KIB, MIB } from "../base/units.ts";
import { blockSizeBytes, hashLengthBytes } from "../core/limits.ts";
import { sha256 } from "../format/bytes.ts";

/** Raw bytes and their hashes, side by side. */
export interface BlockStorePaths {
  readonly raw: string;
  readonly hashes: string;
}

/** A block of zeroes. */
export const zeroBlock = Buffer.alloc(blockSizeBytes);
/** SHA-256 of a block of zeroes. */
export const zeroBlockHash = sha256(zeroBlock);

/** From here on a run of zeroes is punched; below, what is not zero yet is overwritten. */
const punchMinBytes = MIB;
/** Hash entries that are looked at in one go. */
const hashesAtOnceBytes = 64 * KIB;

/**
 * One disk's blocks in a sparse file, and a SHA-256 for each of them in a second one. Hashes are of whole 64 KiB blocks: what a
 * disk's last block lacks counts as zeroes, so a disk that grows keeps its hashes. The two files agree when `sync` resolved and
 * nothing was written since; whoever writes says how a crash in between is repaired.
 */
export class BlockStore implements AsyncDisposable {
  readonly paths: BlockStorePaths;
  readonly #raw: StoredFile;
  readonly #hashes: StoredFile;

  private constructor(paths: BlockStorePaths, raw: StoredFile, hashes: StoredFile) {
    this.paths = paths;
    this.#raw = raw;
    this.#hashes = hashes;
  }

  static async open(files: FileSystem, paths: BlockStorePaths, mode: "read" | "create" | "write") {
    const raw = await files.open(paths.raw, mode);
    try {
      return new BlockStore(paths, raw, await files.open(paths.hashes, mode));
    } catch (error) {
      await raw[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sets the size of the disk; what is cut off is gone, what is added reads as zeroes. */
  async resize(sizeBytes: number): Promise<void> {
    const blocks = Math.ceil(sizeBytes / blockSizeBytes);
    await this.#raw.truncate(sizeBytes);
    await this.#hashes.truncate(blocks * hashLengthBytes);
  }

  sizeBytes(): Promise<number> {
    return this.#raw.sizeBytes();
  }

  /** Fills `into` with the hash entries from `firstBlock` on; blocks beyond the end are absent. */
  async readHashes(firstBlock: number, into: Uint8Array): Promise<void> {
    into.fill(0, await this.#hashes.read(into, firstBlock * hashLengthBytes));
  }

  writeHashes(firstBlock: number, from: Uint8Array): Promise<void> {
    return this.#hashes.write(from, firstBlock * hashLengthBytes);
  }

  /** Fills `into` with raw bytes, unchecked; what is beyond the end is zeroes. */
  async readRaw(offsetBytes: number, into: Uint8Array): Promise<void> {
    into.fill(0, await this.#raw.read(into, offsetBytes));
  }

  /** Writes whole blocks and their hashes; the disk's last may be short. */
  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    assert(offsetBytes % blockSizeBytes === 0 && data.length > 0);
    await Promise.all([
      this.#raw.write(data, offsetBytes),
      this.writeHashes(offsetBytes / blockSizeBytes, hashesOfBlocks(data)),
    ]);
  }

  /** Makes a run read as zeroes without touching the hashes. */
  async zeroRaw(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (lengthBytes >= punchMinBytes) return this.#raw.punch(offsetBytes, lengthBytes);
    // A small hole would be filled by writing zeroes into it: only what is not zero is overwritten.
    const held = Buffer.alloc(lengthBytes);
    await this.readRaw(offsetBytes, held);
    for (let at = 0; at < lengthBytes; at += blockSizeBytes) {
      const block = held.subarray(at, at + blockSizeBytes);
      if (!isZeroes(block)) await this.#raw.punch(offsetBytes + at, block.length);
    }
  }

  /** Makes the entries of `count` blocks absent. */
  async clearHashes(firstBlock: number, count: number): Promise<void> {
    const held = Buffer.alloc(Math.min(hashesAtOnceBytes, count * hashLengthBytes));
    for (let done = 0; done < count; done += held.length / hashLengthBytes) {
      const lengthBytes = Math.min(held.length, (count - done) * hashLengthBytes);
      const entries = held.subarray(0, lengthBytes);
      await this.readHashes(firstBlock + done, entries);
      if (isZeroes(entries)) continue;
      await this.#hashes.punch((firstBlock + done) * hashLengthBytes, lengthBytes);
    }
  }

  /** Makes both files durable. */
  async sync(): Promise<void> {
    await Promise.all([this.#raw.sync(), this.#hashes.sync()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#raw[Symbol.asyncDispose](), this.#hashes[Symbol.asyncDispose]()]);
  }
}

/** The hash entries of consecutive blocks; a short last one counts as filled up with zeroes. */
export function hashesOfBlocks(data: Uint8Array): Buffer {
  const blocks = Math.ceil(data.length / blockSizeBytes);
  const hashes = Buffer.allocUnsafe(blocks * hashLengthBytes);
  for (let block = 0; block < blocks; block += 1) {
    const bytes = data.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes);
    hashes.set(hashOfBlock(bytes), block * hashLengthBytes);
  }
  return hashes;
}

/** SHA-256 of a block, filled up with zeroes to 64 KiB. */
export function hashOfBlock(bytes: Uint8Array): Buffer {
  if (bytes.length === blockSizeBytes) return sha256(bytes);
  const whole = Buffer.alloc(blockSizeBytes);
  whole.set(bytes);
  return sha256(whole);
}

/** Whether all bytes are zero. */
export function isZeroes(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += blockSizeBytes) {
    const part = bytes.subarray(at, at + blockSizeBytes);
    if (Buffer.compare(part, zeroBlock.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

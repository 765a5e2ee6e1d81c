import { hash } from "node:crypto";
import { blockSizeBytes, hashLengthBytes } from "../core/limits.ts";

const zeroHashes = new Map<number, Buffer>();

/** SHA-256 of a block, at most 64 KiB. */
export function hashOf(block: Uint8Array): Buffer {
  return hash("sha256", block, "buffer");
}

/** SHA-256 of so many zero bytes, at most a block. */
export function zeroHashOf(lengthBytes: number): Buffer {
  let found = zeroHashes.get(lengthBytes);
  if (found === undefined) {
    found = hashOf(new Uint8Array(lengthBytes));
    zeroHashes.set(lengthBytes, found);
  }
  return found;
}

/** Blocks in a run that begins with one; the last may be short. */
export function blocksIn(lengthBytes: number): number {
  return Math.ceil(lengthBytes / blockSizeBytes);
}

/** Hash number `index` of a list of them. */
export function hashAt(hashes: Buffer, index: number): Buffer {
  return hashes.subarray(index * hashLengthBytes, (index + 1) * hashLengthBytes);
}

import assert from "node:assert/strict";
import { blockSizeBytes, sectorSizeBytes } from "../src/core/limits.ts";

const zeroBlock = new Uint8Array(blockSizeBytes);

/** The bytes of a virtual disk in blocks that are never altered, only replaced: capturing one costs a copy of the list. */
export class DiskImage {
  sizeBytes: number;
  /** Null is unallocated: reads as zero. */
  private blocks: (Uint8Array | null)[];

  constructor(sizeBytes: number, blocks?: readonly (Uint8Array | null)[]) {
    assert(sizeBytes > 0 && sizeBytes % sectorSizeBytes === 0);
    this.sizeBytes = sizeBytes;
    const count = Math.ceil(sizeBytes / blockSizeBytes);
    this.blocks = blocks ? [...blocks] : new Array<null>(count).fill(null);
    assert(this.blocks.length === count);
  }

  get blockCount(): number {
    return this.blocks.length;
  }

  /** The image as it is now; later writes to either do not show in the other. */
  capture(): DiskImage {
    return new DiskImage(this.sizeBytes, this.blocks);
  }

  /** Whether nothing was written to either since one was captured from the other. */
  isSameAs(other: DiskImage): boolean {
    return (
      this.sizeBytes === other.sizeBytes &&
      this.blocks.every((block, index) => block === other.blocks[index])
    );
  }

  isAllocated(block: number): boolean {
    return this.blocks[block] !== null;
  }

  write(offsetBytes: number, data: Uint8Array): void {
    this.eachPart(offsetBytes, data.length, (block, start, length, done) => {
      const old = this.blocks[block];
      const fresh = old ? old.slice() : new Uint8Array(blockSizeBytes);
      fresh.set(data.subarray(done, done + length), start);
      this.blocks[block] = fresh;
    });
  }

  /** Discards or zeroes: whole blocks become unallocated, parts are filled with zeroes. */
  zero(offsetBytes: number, lengthBytes: number): void {
    this.eachPart(offsetBytes, lengthBytes, (block, start, length) => {
      const old = this.blocks[block];
      if (!old) return;
      const isWhole =
        start === 0 && (length === blockSizeBytes || start + length === this.tailOf(block));
      if (isWhole) {
        this.blocks[block] = null;
        return;
      }
      this.blocks[block] = old.slice().fill(0, start, start + length);
    });
  }

  read(offsetBytes: number, into: Uint8Array): void {
    this.eachPart(offsetBytes, into.length, (block, start, length, done) => {
      const found = this.blocks[block];
      if (found) into.set(found.subarray(start, start + length), done);
      else into.fill(0, done, done + length);
    });
  }

  /** What a cut takes away is gone: growing again shows zeroes. */
  resize(sizeBytes: number): void {
    assert(sizeBytes > 0 && sizeBytes % sectorSizeBytes === 0);
    if (sizeBytes < this.sizeBytes) this.zero(sizeBytes, this.sizeBytes - sizeBytes);
    const count = Math.ceil(sizeBytes / blockSizeBytes);
    while (this.blocks.length < count) this.blocks.push(null);
    this.blocks.length = count;
    this.sizeBytes = sizeBytes;
  }

  /** Blocks in which `found`, as long as the disk, differs. */
  differingBlocks(found: Uint8Array): readonly number[] {
    const wrong: number[] = [];
    for (const [index, block] of this.blocks.entries()) {
      const at = index * blockSizeBytes;
      const part = found.subarray(at, Math.min(this.sizeBytes, at + blockSizeBytes));
      const expected = (block ?? zeroBlock).subarray(0, part.length);
      if (Buffer.compare(expected, part) !== 0) wrong.push(index);
    }
    return wrong;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.sizeBytes);
    this.read(0, all);
    return all;
  }

  private tailOf(block: number): number {
    return Math.min(blockSizeBytes, this.sizeBytes - block * blockSizeBytes);
  }

  private eachPart(
    offsetBytes: number,
    lengthBytes: number,
    visit: (block: number, start: number, length: number, done: number) => void,
  ): void {
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, "outside the disk");
    for (let done = 0; done < lengthBytes; ) {
      const block = Math.floor((offsetBytes + done) / blockSizeBytes);
      const start = (offsetBytes + done) % blockSizeBytes;
      const length = Math.min(blockSizeBytes - start, lengthBytes - done);
      visit(block, start, length, done);
      done += length;
    }
  }
}

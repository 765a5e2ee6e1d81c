import assert from "node:assert/strict";
import { KIB } from "./units.ts";

const pageSizeBytes = 64 * KIB;

/** A growing array of bytes that keeps only pages that were written; the rest reads as zeroes. */
export class SparseBytes {
  #pages = new Map<number, Uint8Array>();
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Whole pages held. */
  get allocatedBytes(): number {
    return this.#pages.size * pageSizeBytes;
  }

  /** Fills `into` from `positionBytes`; returns how many bytes were there. */
  read(into: Uint8Array, positionBytes: number): number {
    assertPosition(positionBytes);
    const lengthBytes = Math.max(0, Math.min(into.length, this.#sizeBytes - positionBytes));
    eachPage(positionBytes, lengthBytes, (index, within, start, length) => {
      const page = this.#pages.get(index);
      if (page === undefined) into.fill(0, start, start + length);
      else into.set(page.subarray(within, within + length), start);
    });
    return lengthBytes;
  }

  /** Writes all of `from`, growing as needed. */
  write(from: Uint8Array, positionBytes: number): void {
    assertPosition(positionBytes + from.length);
    eachPage(positionBytes, from.length, (index, within, start, length) => {
      let page = this.#pages.get(index);
      if (page === undefined) {
        page = new Uint8Array(pageSizeBytes);
        this.#pages.set(index, page);
      }
      page.set(from.subarray(start, start + length), within);
    });
    if (from.length > 0) this.#sizeBytes = Math.max(this.#sizeBytes, positionBytes + from.length);
  }

  /** Sets the size; what is cut off is gone, what is added reads as zeroes. */
  truncate(sizeBytes: number): void {
    assertPosition(sizeBytes);
    if (sizeBytes < this.#sizeBytes) this.punch(sizeBytes, this.#sizeBytes - sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** Makes a run read as zeroes without changing the size; whole pages are given back. */
  punch(positionBytes: number, lengthBytes: number): void {
    const endBytes = Math.min(positionBytes + lengthBytes, this.#sizeBytes);
    for (const [index, page] of [...this.#pages]) {
      const pageStart = index * pageSizeBytes;
      const from = Math.max(positionBytes, pageStart) - pageStart;
      const to = Math.min(endBytes, pageStart + pageSizeBytes) - pageStart;
      if (from >= to) continue;
      const coversRest = endBytes === this.#sizeBytes && pageStart + to === endBytes;
      if (from === 0 && (to === pageSizeBytes || coversRest)) this.#pages.delete(index);
      else page.fill(0, from, to);
    }
  }
}

function assertPosition(positionBytes: number): void {
  assert(Number.isSafeInteger(positionBytes) && positionBytes >= 0, "a position in a file");
}

function eachPage(
  positionBytes: number,
  lengthBytes: number,
  visit: (pageIndex: number, within: number, start: number, length: number) => void,
): void {
  for (let start = 0; start < lengthBytes; ) {
    const at = positionBytes + start;
    const within = at % pageSizeBytes;
    const length = Math.min(pageSizeBytes - within, lengthBytes - start);
    visit((at - within) / pageSizeBytes, within, start, length);
    start += length;
  }
}

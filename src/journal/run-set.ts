import { firstAfter } from "./sorted-keys.ts";

/** Runs of one disk that do not overlap, added in any order; says which parts of another run are not among them. */
export class RunSet {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #isSorted = true;

  add(offsetBytes: number, lengthBytes: number): void {
    const last = this.#ends.length - 1;
    const lastEnd = this.#ends[last] ?? 0;
    if (last >= 0 && offsetBytes === lastEnd) {
      this.#ends[last] = offsetBytes + lengthBytes;
      return;
    }
    if (offsetBytes < lastEnd) this.#isSorted = false;
    this.#starts.push(offsetBytes);
    this.#ends.push(offsetBytes + lengthBytes);
  }

  /** The parts of [offsetBytes, endBytes) that no run covers, in order. */
  *gaps(
    offsetBytes: number,
    endBytes: number,
  ): Generator<{ offsetBytes: number; endBytes: number }> {
    this.#sort();
    let at = offsetBytes;
    for (let run = firstAfter(this.#ends, offsetBytes); run < this.#starts.length; run += 1) {
      const start = this.#starts[run]!;
      if (start >= endBytes) break;
      if (start > at) yield { offsetBytes: at, endBytes: start };
      at = Math.max(at, this.#ends[run]!);
    }
    if (at < endBytes) yield { offsetBytes: at, endBytes };
  }

  #sort(): void {
    if (this.#isSorted) return;
    // Runs do not overlap, so starts and ends have one order.
    this.#starts.sort((left, right) => left - right);
    this.#ends.sort((left, right) => left - right);
    this.#isSorted = true;
  }
}

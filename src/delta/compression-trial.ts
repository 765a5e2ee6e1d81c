/** After so many chunks in a row that compressing did not make smaller… */
const failuresMax = 16;
/** …only one in so many is tried, until one gets smaller. */
const triedOneIn = 8;

/** Keeps from compressing what does not compress: encrypted and already compressed data come in long stretches. */
export class CompressionTrial {
  #failures = 0;
  #skipped = 0;

  /** Whether to try the next chunk. */
  shouldTry(): boolean {
    if (this.#failures < failuresMax) return true;
    this.#skipped += 1;
    return this.#skipped % triedOneIn === 0;
  }

  /** What came of a chunk that was tried. */
  tell(outcome: { readonly isSmaller: boolean }): void {
    this.#failures = outcome.isSmaller ? 0 : this.#failures + 1;
  }
}

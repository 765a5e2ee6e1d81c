import { blockSizeBytes } from "../core/limits.ts";

/** Each step of the histogram is so much wider than the one before: quantiles are right to a twentieth. */
const stepRatio = 1.05;
/** From one block to more than any disk. */
const stepsMax = 760;

/** What changed in stretches of one length: how many were seen and how they spread, in bounded memory. */
export class StretchSamples {
  readonly #steps = new Uint32Array(stepsMax);
  #count = 0;
  #none = 0;
  #sumBytes = 0;
  #mostBytes = 0;

  get count(): number {
    return this.#count;
  }

  /** 0 before the first. */
  get meanBytes(): number {
    return this.#count === 0 ? 0 : this.#sumBytes / this.#count;
  }

  get mostBytes(): number {
    return this.#mostBytes;
  }

  add(bytes: number): void {
    this.#count += 1;
    this.#sumBytes += bytes;
    this.#mostBytes = Math.max(this.#mostBytes, bytes);
    if (bytes <= 0) {
      this.#none += 1;
      return;
    }
    const step = Math.min(stepsMax - 1, Math.max(0, stepOf(bytes)));
    this.#steps[step] = (this.#steps[step] ?? 0) + 1;
  }

  /** The bytes that this share of the stretches do not exceed, from 0 to 1; 0 before the first. */
  quantileBytes(share: number): number {
    const wanted = Math.ceil(share * this.#count);
    let seen = this.#none;
    if (seen >= wanted) return 0;
    for (const [step, count] of this.#steps.entries()) {
      seen += count;
      if (seen >= wanted) return Math.min(this.#mostBytes, blockSizeBytes * stepRatio ** step);
    }
    return this.#mostBytes;
  }
}

function stepOf(bytes: number): number {
  // A whisker of tolerance, so that what lies on an edge does not count as the next wider step.
  return Math.ceil(Math.log(bytes / blockSizeBytes) / Math.log(stepRatio) - 1e-9);
}

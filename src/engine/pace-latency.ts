import type { GuestWrites } from "../core/source.ts";

/** Guests' writes may take so many times what they take without us. */
const slowerTimesMax = 3;
/** Below this nobody calls a write slow, whatever it was before. */
const slowMsMin = 2;
/** Fewer writes in a stretch tell nothing. */
const writesTold = 8;
/** Weight of a new look at the baseline beside those before. */
const baselineWeight = 0.3;

/** What a guest's write takes, with our reading and without, from counters that are looked at now and then. */
export class GuestLatency {
  readonly #allowedMs: number | null;
  #before: GuestWrites | null = null;
  #baselineMs: number | null = null;
  #latencyMs: number | null = null;

  /** Beyond `allowedMs` writes are slow; null: beyond several times the baseline. */
  constructor(allowedMs: number | null) {
    this.#allowedMs = allowedMs;
  }

  /** Mean of late while we do not read; null before that was seen. */
  get baselineMs(): number | null {
    return this.#baselineMs;
  }

  /** Mean of the last stretch in which we read. */
  get latencyMs(): number | null {
    return this.#latencyMs;
  }

  /**
   * Takes in the counters at the end of a stretch of reading, or of none. Whether writes were slow while we read; null when that
   * cannot be said: few writes, counters that began anew, or no baseline to compare with.
   */
  add(writes: GuestWrites | null, isReading: boolean): boolean | null {
    const before = this.#before;
    this.#before = writes;
    if (before === null || writes === null) return null;
    const operations = writes.operations - before.operations;
    const tookNs = writes.totalTimeNs - before.totalTimeNs;
    if (operations < 0 || tookNs < 0) return null;
    if (operations < writesTold) return isReading ? false : null;
    const meanMs = tookNs / operations / 1e6;
    if (!isReading) {
      this.#baselineMs ??= meanMs;
      this.#baselineMs += baselineWeight * (meanMs - this.#baselineMs);
      return null;
    }
    this.#latencyMs = meanMs;
    return this.#isSlow(meanMs);
  }

  #isSlow(meanMs: number): boolean {
    if (this.#allowedMs !== null) return meanMs > this.#allowedMs;
    if (this.#baselineMs === null) return false;
    return meanMs > Math.max(slowMsMin, slowerTimesMax * this.#baselineMs);
  }
}

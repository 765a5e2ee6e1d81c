import { MIB } from "../base/units.ts";

/** What so many bytes take: a fixed part and one for each byte. */
export interface LinearCost {
  readonly fixedMs: number;
  readonly msPerByte: number;
  /** By how much all but a few of the late ones took longer than that. */
  readonly lateMs: number;
}

/** What each sample still counts when the next arrives. */
const memory = 0.9;
/** Below this spread of sizes, relative to their mean, the samples do not tell the two parts apart. */
const spreadTold = 0.2;
/** So few bytes tell nothing of what a byte takes. */
const tellingBytesMin = MIB;
/** What a byte is taken to cost until some have told: a slow gigabit link, so that the first burst is not met too late. */
const cautiousMsPerByte = 1000 / (32 * MIB);
/** Of what points of one size cost, what is laid to their bytes. */
const byteShare = 0.8;
const residualsMax = 64;
/** Share of the late samples that are not later than `lateMs`. */
const lateQuantile = 0.95;

/** Learns a LinearCost from samples, the newest counting most. */
export class LinearCostFit {
  #weight = 0;
  #sumBytes = 0;
  #sumMs = 0;
  #sumSquares = 0;
  #sumProducts = 0;
  readonly #residualsMs: number[] = [];

  /** Whether anything is known. */
  get isKnown(): boolean {
    return this.#weight > 0;
  }

  /** So many bytes took so long; `assumedMsPerByte` is a link's known rate, or null. */
  add(bytes: number, tookMs: number, assumedMsPerByte: number | null): void {
    if (this.isKnown) {
      const { fixedMs, msPerByte } = this.cost(assumedMsPerByte);
      this.#residualsMs.push(tookMs - fixedMs - msPerByte * bytes);
      if (this.#residualsMs.length > residualsMax) this.#residualsMs.shift();
    }
    this.#weight = this.#weight * memory + 1;
    this.#sumBytes = this.#sumBytes * memory + bytes;
    this.#sumMs = this.#sumMs * memory + tookMs;
    this.#sumSquares = this.#sumSquares * memory + bytes * bytes;
    this.#sumProducts = this.#sumProducts * memory + bytes * tookMs;
  }

  /** What is believed now; nothing costs anything before the first sample. */
  cost(assumedMsPerByte: number | null): LinearCost {
    const lateMs = this.#lateMs();
    if (!this.isKnown) return { fixedMs: 0, msPerByte: assumedMsPerByte ?? 0, lateMs };
    const meanBytes = this.#sumBytes / this.#weight;
    const meanMs = this.#sumMs / this.#weight;
    if (meanBytes < 1)
      return { fixedMs: meanMs, msPerByte: assumedMsPerByte ?? cautiousMsPerByte, lateMs };
    const variance = this.#sumSquares / this.#weight - meanBytes * meanBytes;
    const covariance = this.#sumProducts / this.#weight - meanBytes * meanMs;
    // While all are of one size, most of it is laid to the bytes: a burst must not cost more than was thought.
    const guessed =
      meanBytes < tellingBytesMin ? cautiousMsPerByte : (meanMs / meanBytes) * byteShare;
    const assumed = Math.min(assumedMsPerByte ?? guessed, meanMs / meanBytes);
    // The fewer samples there are, the more the guess counts.
    const trust = (spreadTold * meanBytes) ** 2 / this.#weight;
    const slope =
      (Math.max(0, variance) * slopeOf(covariance, variance) + trust * assumed) /
      (Math.max(0, variance) + trust);
    const msPerByte = Math.min(Math.max(0, slope), meanMs / meanBytes);
    return { fixedMs: Math.max(0, meanMs - msPerByte * meanBytes), msPerByte, lateMs };
  }

  #lateMs(): number {
    const sorted = [...this.#residualsMs].sort((a, b) => a - b);
    return Math.max(0, sorted[Math.ceil(sorted.length * lateQuantile) - 1] ?? 0);
  }
}

function slopeOf(covariance: number, variance: number): number {
  return variance > 0 ? covariance / variance : 0;
}

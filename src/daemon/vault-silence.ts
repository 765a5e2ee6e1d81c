/** The dead man's alarm never comes sooner than this by itself. */
export const silentAfterMsMin = 60_000;
/** Silence is this many times what usually lies between two signs of life. */
const gapsMissed = 3;
/** Gaps that are remembered. */
const gapsMax = 16;
/** A transfer that goes on for long is no silence, unless no point comes of it for so many times the bound. */
const boundsPerTransferMax = 10;

/**
 * The dead man's alarm of one group, on the monotonic clock.
 *
 *   speaking ──nothing for the bound──▶ silent ──a point, a confirmation, a durable part of a sync──▶ speaking
 */
export class SilenceWatch {
  readonly #configuredMs: number | null;
  readonly #gapsMs: number[];
  #spokeAtMs: number;
  #movedAtMs: number;
  #hasSpoken = false;
  #isSilent = false;

  constructor(options: {
    /** Null: by what usually lies between two signs of life. */
    readonly silentAfterMs: number | null;
    /** When watching begins: silence from before a start counts from there, so that a source has time to come back. */
    readonly atMs: number;
    /** What lay between the last signs of life of an earlier life, if that is known. */
    readonly gapsMs: readonly number[];
  }) {
    this.#configuredMs = options.silentAfterMs;
    this.#gapsMs = options.gapsMs.slice(-gapsMax);
    this.#spokeAtMs = options.atMs;
    this.#movedAtMs = options.atMs;
  }

  get isSilent(): boolean {
    return this.#isSilent;
  }

  /** How long a silence is borne. */
  get boundMs(): number {
    if (this.#configuredMs !== null) return this.#configuredMs;
    const sorted = [...this.#gapsMs].sort((left, right) => left - right);
    const usualMs = sorted[Math.floor(sorted.length / 2)] ?? 0;
    return Math.max(silentAfterMsMin, gapsMissed * usualMs);
  }

  /** A sign of life. */
  spoke(atMs: number): void {
    // What lay before the first sign, or was an alarm, says nothing of what usually lies between two.
    if (this.#hasSpoken && !this.#isSilent) this.#gapsMs.push(atMs - this.#spokeAtMs);
    if (this.#gapsMs.length > gapsMax) this.#gapsMs.shift();
    this.#hasSpoken = true;
    this.#spokeAtMs = atMs;
  }

  /** Bytes came: nothing to trust in yet, and no silence either. */
  moved(atMs: number): void {
    this.#movedAtMs = atMs;
  }

  /** Looks at the clock; says what has begun, or null. */
  check(atMs: number): "silent" | "speaking" | null {
    const { boundMs } = this;
    const quietMs = atMs - this.#spokeAtMs;
    const isMoving = atMs - this.#movedAtMs < boundMs;
    const isSilent = quietMs >= (isMoving ? boundMs * boundsPerTransferMax : boundMs);
    if (isSilent === this.#isSilent) return null;
    this.#isSilent = isSilent;
    return isSilent ? "silent" : "speaking";
  }
}

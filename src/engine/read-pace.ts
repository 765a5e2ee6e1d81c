import type { Clock } from "../base/clock.ts";

/** Lets reads from the source through at some rate. */
export interface Pace {
  /** Resolves when `lengthBytes` may be read; rejects with the signal's reason when it aborts first. */
  admit(lengthBytes: number, signal: AbortSignal): Promise<void>;
}

/** Holds readers to a rate: over any stretch since the start no more than `bytesPerSecondMax` were let through. */
export class ReadPace implements Pace {
  readonly #clock: Clock;
  readonly #bytesPerSecondMax: number | null;
  #freeAtMs: number;

  /** Null lets everything through at once. */
  constructor(clock: Clock, bytesPerSecondMax: number | null) {
    this.#clock = clock;
    this.#bytesPerSecondMax = bytesPerSecondMax;
    this.#freeAtMs = clock.monotonicMs();
  }

  /** Resolves when `lengthBytes` may be read; rejects with the signal's reason when it aborts first. */
  async admit(lengthBytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerSecondMax === null) return;
    const nowMs = this.#clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (lengthBytes / this.#bytesPerSecondMax) * 1000;
    if (startMs > nowMs) await this.#clock.sleep(startMs - nowMs, { signal });
  }
}

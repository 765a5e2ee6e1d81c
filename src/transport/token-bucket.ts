import type { Clock } from "../base/clock.ts";

/** What may be sent at once after a pause, as a time at the full rate. */
const burstSeconds = 0.1;

/** A cap on bytes per second. Goes into debt by one frame at most, so frames longer than the burst pass too. */
export class TokenBucket {
  readonly #clock: Clock;
  #bytesPerSecond: number | null = null;
  #tokens = 0;
  #atMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** In force at once; null lifts the cap. */
  setRate(bytesPerSecond: number | null): void {
    if (bytesPerSecond === this.#bytesPerSecond) return;
    this.#refill();
    // A debt at the former rate would be a long silence at a smaller one.
    if (this.#bytesPerSecond === null || bytesPerSecond === null) this.#tokens = 0;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** How long until something may be sent; 0 when now. Infinite for a cap of nothing. */
  waitMs(): number {
    if (this.#bytesPerSecond === null) return 0;
    this.#refill();
    if (this.#tokens >= 0) return 0;
    return Math.ceil((-this.#tokens / this.#bytesPerSecond) * 1000);
  }

  /** Counts what is sent. */
  spend(bytes: number): void {
    if (this.#bytesPerSecond === null) return;
    this.#refill();
    this.#tokens -= bytes;
  }

  #refill(): void {
    const nowMs = this.#clock.monotonicMs();
    const rate = this.#bytesPerSecond;
    if (rate !== null) {
      const gained = ((nowMs - this.#atMs) / 1000) * rate;
      this.#tokens = Math.min(rate * burstSeconds, this.#tokens + gained);
    }
    this.#atMs = nowMs;
  }
}

import type { Clock } from "../src/base/clock.ts";
import type { Prng } from "../src/base/prng.ts";
import { between } from "./chance.ts";

/** How long bytes are on the way, one direction. */
export interface Weather {
  readonly latencyMs: number;
  /** Added to the latency at random; bytes of one channel never overtake each other. */
  readonly jitterMs: number;
  /** Null: as much as comes. */
  readonly bytesPerSecond: number | null;
}

/** One direction of the way between two sites, shared by all channels. */
export class Road {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #weather: () => Weather;
  #freeAtMs = 0;
  /** Nothing arrives before then; nothing is lost either. */
  stalledUntilMs = 0;

  constructor(options: { clock: Clock; prng: Prng; weather: () => Weather }) {
    this.#clock = options.clock;
    this.#prng = options.prng;
    this.#weather = options.weather;
  }

  /** When what is sent now arrives, on the clock's monotonic side. */
  arrivalMs(lengthBytes: number): number {
    const { latencyMs, jitterMs, bytesPerSecond } = this.#weather();
    const nowMs = this.#clock.monotonicMs();
    const durationMs = bytesPerSecond === null ? 0 : (1000 * lengthBytes) / bytesPerSecond;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + durationMs;
    return this.#freeAtMs + latencyMs + (jitterMs > 0 ? between(this.#prng, 0, jitterMs) : 0);
  }

  /** What is on the way is forgotten by the bottleneck. */
  clear(): void {
    this.#freeAtMs = 0;
  }
}

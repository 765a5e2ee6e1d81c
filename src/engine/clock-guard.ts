import { Fault } from "../base/fault.ts";
import type { ClockComparison } from "../core/clock-comparison.ts";
import type { GroupEvent } from "./events.ts";

/** Watches how far the two sites' clocks are apart: protection does not start beyond the bound, but goes on. */
export class ClockGuard {
  readonly #offsetMaxMs: number;
  readonly #comparison: () => ClockComparison | null;
  readonly #onEvent: (event: GroupEvent) => void;
  #hasStarted = false;
  #isWithinBound = true;

  constructor(options: {
    readonly offsetMaxMs: number | null;
    readonly comparison: () => ClockComparison | null;
    readonly onEvent: (event: GroupEvent) => void;
  }) {
    this.#offsetMaxMs = options.offsetMaxMs ?? Number.POSITIVE_INFINITY;
    this.#comparison = options.comparison;
    this.#onEvent = options.onEvent;
  }

  /** CLOCK_SKEW before protection ever started in this process; later a look. Clocks that were not compared pass. */
  requireToStart(): void {
    this.look();
    const comparison = this.#comparison();
    if (this.#hasStarted || this.#isWithinBound || comparison === null) {
      this.#hasStarted = true;
      return;
    }
    const { offsetMs, errorMs } = comparison;
    const offsetMaxMs = this.#offsetMaxMs;
    const message = `The vault's clock is ${offsetMs} ms ahead of ours (within ${errorMs} ms); at most ${offsetMaxMs} ms are allowed.`;
    throw new Fault("CLOCK_SKEW", message, { offsetMs, errorMs, offsetMaxMs });
  }

  /** Tells when the bound is passed, either way. */
  look(): void {
    const comparison = this.#comparison();
    if (comparison === null) return;
    const { offsetMs, errorMs } = comparison;
    const isWithinBound = Math.abs(offsetMs) <= this.#offsetMaxMs;
    if (isWithinBound === this.#isWithinBound) return;
    this.#isWithinBound = isWithinBound;
    const offsetMaxMs = this.#offsetMaxMs;
    this.#onEvent({ type: "clock-skew", isWithinBound, offsetMs, errorMs, offsetMaxMs });
  }
}

import type { Clock } from "../base/clock.ts";

/** Wrong requests of one host before it has to wait. */
const guessesMax = 10;
/** How long it then waits; right ones wait too, or waiting would tell. */
const windowMs = 60_000;
/** Hosts remembered; beyond that all of them wait together, which an attack with so many hosts is worth. */
const hostsMax = 4096;

/** Bounds how often a host may be wrong. */
export class GuessLimiter {
  readonly #clock: Clock;
  readonly #hosts = new Map<string, { readonly untilMs: number; guesses: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the host may try. */
  isAllowed(host: string): boolean {
    this.#forgetOld();
    const entry = this.#hosts.get(host);
    if (entry === undefined) return this.#hosts.size < hostsMax;
    return entry.guesses < guessesMax;
  }

  /** The host was wrong. */
  wrong(host: string): void {
    const entry = this.#hosts.get(host);
    if (entry !== undefined) entry.guesses += 1;
    else this.#hosts.set(host, { untilMs: this.#clock.monotonicMs() + windowMs, guesses: 1 });
  }

  #forgetOld(): void {
    const nowMs = this.#clock.monotonicMs();
    // Entries stand in the order of their ends.
    for (const [host, { untilMs }] of this.#hosts) {
      if (untilMs > nowMs) break;
      this.#hosts.delete(host);
    }
  }
}

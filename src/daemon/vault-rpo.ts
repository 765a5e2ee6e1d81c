import type { Point } from "../core/point.ts";

/** Samples that are kept: an hour of one a second. */
const samplesMax = 3_600;

/** How old what a vault has is, and how far that may be off. */
export interface VaultRpo {
  readonly seconds: number;
  /** Null while the sites' clocks were not compared. */
  readonly errorSeconds: number | null;
}

/** What of a point its age is counted from. */
export type AgedPoint = Pick<Point, "instant" | "currentAtMs" | "clock">;

/**
 * What a loss of the source would cost at `nowMs` on the vault's clock: from the instant's lower bound, or from when nothing had
 * changed since, brought to the vault's clock. Nobody tells of an instant before it was: what the vault heard at `heardAtMs` was no
 * later, so that a source's clock that jumped ahead does not flatter.
 */
export function vaultRpoOf(
  head: AgedPoint,
  { nowMs, heardAtMs }: { readonly nowMs: number; readonly heardAtMs: number },
): VaultRpo {
  const { instant, currentAtMs, clock } = head;
  const heldMs = Math.max(instant.lowerMs, currentAtMs ?? instant.lowerMs);
  const errorMs = clock?.errorMs ?? instant.clockErrorMs;
  const atVaultMs = Math.min(heldMs + (clock?.offsetMs ?? 0), heardAtMs);
  const seconds = Math.max(0, nowMs - atVaultMs) / 1000;
  return { seconds, errorSeconds: errorMs === null ? null : errorMs / 1000 };
}

/** The RPO of the last hour, seen once a second, in a ring of fixed size. */
export class RpoWindow {
  readonly #samples = new Float64Array(samplesMax);
  #count = 0;
  #next = 0;

  add(seconds: number): void {
    this.#samples[this.#next] = seconds;
    this.#next = (this.#next + 1) % samplesMax;
    this.#count = Math.min(this.#count + 1, samplesMax);
  }

  /** Null before the first sample. */
  quantiles() {
    if (this.#count === 0) return null;
    const sorted = this.#samples.slice(0, this.#count).sort();
    // The smallest value that so many of a hundred do not exceed.
    const at = (share: number) => sorted[Math.ceil(share * this.#count) - 1]!;
    return { p50: at(0.5), p95: at(0.95), p99: at(0.99), windowSeconds: this.#count };
  }
}

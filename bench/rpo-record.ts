import assert from "node:assert/strict";
import { systemClock } from "../src/base/clock.ts";
import type { Point } from "../src/core/point.ts";
import type { Sites } from "../test/two-sites/sites.ts";

const clock = systemClock();
/** Points stay longer than this, so none is missed between two looks. */
const lookEveryMs = 1000;
const sampleEveryMs = 10;

/** From this moment on the vault could show the state of `shownMs`; both on this host's wall clock. */
interface Shown {
  readonly fromMs: number;
  readonly shownMs: number;
}

/** What a vault could show at every moment of a run, gathered from its directory as any reader sees it. */
export class RpoRecord {
  readonly #sites: Sites;
  readonly #points = new Map<number, Point>();
  readonly #shown: Shown[] = [];

  constructor(sites: Sites) {
    this.#sites = sites;
  }

  /** Resolves when there is a point; rejects when the replicator ends before. */
  async waitForPoint(): Promise<void> {
    const { replicator } = this.#sites;
    let hasEnded = false;
    void replicator.ended.then(() => {
      hasEnded = true;
    });
    while (this.#points.size === 0) {
      if (hasEnded) throw new Error(`the replicator ended: ${replicator.excerpt()}`);
      await clock.sleep(lookEveryMs);
      await this.#look();
    }
  }

  /** Goes on looking for so long. */
  async follow(seconds: number): Promise<void> {
    const endMs = clock.monotonicMs() + seconds * 1000;
    while (clock.monotonicMs() < endMs) {
      await clock.sleep(Math.min(lookEveryMs, Math.max(0, endMs - clock.monotonicMs())));
      await this.#look();
    }
  }

  /** Points sealed since. */
  pointsSince(fromMs: number): readonly Point[] {
    return [...this.#points.values()].filter(({ sealedAtMs }) => sealedAtMs >= fromMs);
  }

  /** RPO in seconds that was not exceeded for `share` of the time. Looked at every 10 ms. */
  quantile(share: number, fromMs: number, toMs: number): number {
    const shown = this.#shown.toSorted((a, b) => a.fromMs - b.fromMs);
    const samples: number[] = [];
    let newestMs = Number.NEGATIVE_INFINITY;
    let next = 0;
    for (let atMs = fromMs; atMs < toMs; atMs += sampleEveryMs) {
      for (; (shown[next]?.fromMs ?? Number.POSITIVE_INFINITY) <= atMs; next += 1) {
        newestMs = Math.max(newestMs, shown[next]!.shownMs);
      }
      samples.push(atMs - newestMs);
    }
    assert(samples.length > 0 && Number.isFinite(newestMs), "a point before the first moment");
    samples.sort((a, b) => a - b);
    return samples[Math.min(samples.length - 1, Math.floor(samples.length * share))]! / 1000;
  }

  async #look(): Promise<void> {
    const points = await this.#sites.points();
    const lookedAtMs = clock.nowMs();
    for (const point of points) {
      const { sequence, instant, sealedAtMs, currentAtMs } = point;
      const known = this.#points.get(sequence);
      this.#points.set(sequence, point);
      if (known === undefined) this.#shown.push({ fromMs: sealedAtMs, shownMs: instant.lowerMs });
      // When a confirmation came is not kept: at the latest, now.
      if (currentAtMs !== null && currentAtMs !== known?.currentAtMs) {
        this.#shown.push({ fromMs: lookedAtMs, shownMs: currentAtMs });
      }
    }
  }
}

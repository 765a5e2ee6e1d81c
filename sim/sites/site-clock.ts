import type { Clock } from "../../src/base/clock.ts";
import type { VirtualClock } from "../clock.ts";

/** A host's clocks: its wall clock may jump apart from the other site's, its durations are those of the world. */
export class SiteClock {
  readonly #world: VirtualClock;
  #aheadMs: number;

  constructor(world: VirtualClock, aheadMs: number) {
    this.#world = world;
    this.#aheadMs = aheadMs;
  }

  nowMs(): number {
    return this.#world.nowMs() + this.#aheadMs;
  }

  jump(byMs: number): void {
    this.#aheadMs += byMs;
  }

  /** As one process sees it: its monotonic side starts with it, and nothing wakes in a process that is over. */
  forLife(life: { readonly isOver: () => boolean }): Clock {
    const world = this.#world;
    const startedAtMs = world.monotonicMs();
    return {
      nowMs: () => this.nowMs(),
      monotonicMs: () => world.monotonicMs() - startedAtMs,
      sleep: (durationMs, options) =>
        new Promise((resolve, reject) => {
          const unlessOver = (settle: () => void) => () => {
            if (!life.isOver()) settle();
          };
          const onReason = (reason: unknown) => unlessOver(() => reject(reason))();
          world.sleep(durationMs, options).then(unlessOver(resolve), onReason);
        }),
    };
  }
}

import assert from "node:assert/strict";
import type { Prng } from "../src/base/prng.ts";

const chanceSteps = 1_000_000;

/** True with probability `rate` (0 to 1). A rate of 0 draws nothing. */
export function happens(prng: Prng, rate: number): boolean {
  return rate > 0 && prng.below(chanceSteps) < rate * chanceSteps;
}

/** A whole number in [min, max]. */
export function between(prng: Prng, min: number, max: number): number {
  assert(max >= min);
  return min + prng.below(max - min + 1);
}

/** One of `items`, which has some. */
export function pick<Item>(prng: Prng, items: readonly Item[]): Item {
  assert(items.length > 0, "nothing to pick from");
  return items[prng.below(items.length)] as Item;
}

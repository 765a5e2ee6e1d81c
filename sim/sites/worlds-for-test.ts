import { describe, expect, test } from "vitest";
import { runKind } from "../kinds.ts";
import { story } from "../story.ts";

const seedsPerPart = 800;
const seedsPerBatch = 100;
const batchTimeoutMs = 900_000;

/** Worlds of two sites, in parts that several workers run at once. */
export function worldsKeepPromises({ part }: { readonly part: number }): void {
  describe(`between two sites every promise is kept, part ${part}`, () => {
    const from = 1_001 + (part - 1) * seedsPerPart;
    for (let first = from; first < from + seedsPerPart; first += seedsPerBatch) {
      const name = `in worlds ${first} to ${first + seedsPerBatch - 1}`;
      test(name, { timeout: batchTimeoutMs }, async () => {
        for (let seed = first; seed < first + seedsPerBatch; seed += 1) {
          const result = await runKind("two-sites", seed);
          if (result.failure) expect.fail(story("two-sites", result));
        }
      });
    }
  });
}

import { describe, expect, test } from "vitest";
import { type Kind, kinds, runKind } from "./kinds.ts";
import { story } from "./story.ts";

const batches: Readonly<Record<Kind, number>> = { "one-process": 8, "two-sites": 5 };
const seedsPerBatch = 20;
/** A batch takes about 2 s; a busy machine is no reason to fail. */
const batchTimeoutMs = 180_000;

describe.each(kinds)("every point reads as the source was at its instant, %s", (kind) => {
  for (let batch = 0; batch < batches[kind]; batch += 1) {
    const first = 1 + batch * seedsPerBatch;
    const name = `in worlds ${first} to ${first + seedsPerBatch - 1}`;
    test(name, { timeout: batchTimeoutMs }, async () => {
      for (let seed = first; seed < first + seedsPerBatch; seed += 1) {
        const result = await runKind(kind, seed);
        if (result.failure) expect.fail(story(kind, result));
      }
    });
  }
});

test.each(kinds)("a world is the same each time, %s", { timeout: batchTimeoutMs }, async (kind) => {
  for (const seed of [7, 11]) {
    const first = await runKind(kind, seed);
    const again = await runKind(kind, seed);
    expect(again.trace).toEqual(first.trace);
    expect(first.steps).toBeGreaterThan(100);
  }
});

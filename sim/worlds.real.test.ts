import { expect, test } from "vitest";
import { runKind } from "./kinds.ts";
import { story } from "./story.ts";

const firstSeed = 1_001;
const seeds = 400;

test(`${seeds} more worlds of one process keep every promise`, { timeout: 900_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    const result = await runKind("one-process", seed);
    if (result.failure) expect.fail(story("one-process", result));
  }
});

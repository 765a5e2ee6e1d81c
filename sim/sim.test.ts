import { describe, expect, test } from "vitest";
import { directoryVaultUnderTest } from "./directory-vault.ts";
import { story } from "./story.ts";
import { runWorld } from "./world.ts";

const batches = 10;
const seedsPerBatch = 20;
/** A batch takes about 2 s; a busy machine is no reason to fail. */
const batchTimeoutMs = 180_000;

describe("every acknowledged point reads as the source was at its instant", () => {
  for (let batch = 0; batch < batches; batch += 1) {
    const first = 1 + batch * seedsPerBatch;
    const name = `in worlds ${first} to ${first + seedsPerBatch - 1}`;
    test(name, { timeout: batchTimeoutMs }, async () => {
      for (let seed = first; seed < first + seedsPerBatch; seed += 1) {
        const result = await runWorld({ seed, vault: directoryVaultUnderTest });
        if (result.failure) expect.fail(story(result));
      }
    });
  }
});

test("a world is the same each time", { timeout: batchTimeoutMs }, async () => {
  const first = await runWorld({ seed: 7, vault: directoryVaultUnderTest });
  const again = await runWorld({ seed: 7, vault: directoryVaultUnderTest });
  expect(again.trace).toEqual(first.trace);
  expect(first.steps).toBeGreaterThan(100);
});

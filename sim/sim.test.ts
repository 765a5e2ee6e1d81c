import { describe, expect, test } from "vitest";
import { directoryVaultUnderTest } from "./directory-vault.ts";
import { story } from "./story.ts";
import { runWorld } from "./world.ts";

const batches = 10;
const seedsPerBatch = 20;

describe("every acknowledged point reads as the source was at its instant", () => {
  for (let batch = 0; batch < batches; batch += 1) {
    const first = 1 + batch * seedsPerBatch;
    test(`in worlds ${first} to ${first + seedsPerBatch - 1}`, async () => {
      for (let seed = first; seed < first + seedsPerBatch; seed += 1) {
        const result = await runWorld({ seed, vault: directoryVaultUnderTest });
        if (result.failure) expect.fail(story(result));
      }
    });
  }
});

test("a world is the same each time", async () => {
  const first = await runWorld({ seed: 7, vault: directoryVaultUnderTest });
  const again = await runWorld({ seed: 7, vault: directoryVaultUnderTest });
  expect(again.trace).toEqual(first.trace);
  expect(first.steps).toBeGreaterThan(100);
});

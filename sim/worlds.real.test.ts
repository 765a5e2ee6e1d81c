import { expect, test } from "vitest";
import { directoryVaultUnderTest } from "./directory-vault.ts";
import { story } from "./story.ts";
import { runWorld } from "./world.ts";

const firstSeed = 1_001;
const seeds = 600;

test(`${seeds} more worlds keep every promise`, { timeout: 900_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    const result = await runWorld({ seed, vault: directoryVaultUnderTest });
    if (result.failure) expect.fail(story(result));
  }
});

import { expect, test } from "vitest";
import { hunt } from "./hunt.ts";
import { mutants } from "./mutants.ts";

const seedsMax = 200;

test.each(mutants)('the mutant "$name" is caught', { timeout: 600_000 }, async (mutant) => {
  const { seed, others } = await hunt(mutant, seedsMax);
  expect(seed, `not caught within ${seedsMax} worlds; ${others.join("; ")}`).not.toBeNull();
});

test("there are at least ten mutants, each with a name of its own", () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBeGreaterThanOrEqual(10);
});

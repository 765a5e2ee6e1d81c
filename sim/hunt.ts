import { directoryVaultUnderTest } from "./directory-vault.ts";
import type { Mutant } from "./mutants.ts";
import { runSitesWorld } from "./sites/world.ts";
import { runWorld, type WorldResult } from "./world.ts";

export interface Hunt {
  /** The world that caught it, or null. */
  readonly seed: number | null;
  readonly finding: string | null;
  /** Findings of other kinds on the way, at most a few. */
  readonly others: readonly string[];
}

/** Runs worlds with the mutant built in until one finds what the mutant does wrong. */
export async function hunt(mutant: Mutant, seedsMax: number): Promise<Hunt> {
  const others: string[] = [];
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    const { failure } = await runWith(mutant, seed);
    if (failure === null) continue;
    const finding = failure.message;
    if (mutant.finding.test(finding)) return { seed, finding, others };
    if (others.length < 5) others.push(`${seed}: ${finding}`);
  }
  return { seed: null, finding: null, others };
}

function runWith(mutant: Mutant, seed: number): Promise<WorldResult> {
  if (mutant.kind === "two-sites") return runSitesWorld({ seed, seams: mutant.seams });
  return runWorld({ seed, vault: directoryVaultUnderTest, seams: mutant.seams });
}

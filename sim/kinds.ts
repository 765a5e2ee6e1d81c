import { directoryVaultUnderTest } from "./directory-vault.ts";
import { runSitesWorld } from "./sites/world.ts";
import { runWorld, type WorldResult } from "./world.ts";

/** The kinds of worlds: `afterimage up`, and a replicator and a vault with a network between them. */
export const kinds = ["one-process", "two-sites"] as const;

export type Kind = (typeof kinds)[number];

/** One world of that kind. */
export function runKind(kind: Kind, seed: number): Promise<WorldResult> {
  if (kind === "two-sites") return runSitesWorld({ seed });
  return runWorld({ seed, vault: directoryVaultUnderTest });
}

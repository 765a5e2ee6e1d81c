import type { Journal } from "../src/core/journal.ts";
import { memoryJournal, memoryVault } from "../src/engine/memory-journal.ts";
import type { VaultUnderTest } from "./vault.ts";

/** A vault that never fails: shows the engine alone. */
export function memoryVaultUnderTest(): VaultUnderTest {
  const vault = memoryVault();
  return {
    open: async () => {
      const journal: Journal = memoryJournal(vault);
      return { journal, upkeep: async () => {}, [Symbol.asyncDispose]: async () => {} };
    },
    kill: () => {},
  };
}

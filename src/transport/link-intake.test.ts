import { systemClock } from "../base/clock.ts";
import type { Journal } from "../core/journal.ts";
import { testGroup } from "../journal/history-for-test.ts";
import { intakeContract } from "../journal/intake-contract.ts";
import { journalContract } from "../journal/journal-contract.ts";
import { memoryVault } from "../journal/vault-for-test.ts";
import { remoteJournal, unowned } from "./remote-journal-for-test.ts";
import { type TestSites, testSites } from "./sites-for-test.ts";

/** A vault at the other end of a link; reading goes past it. */
async function subject(clock = systemClock()) {
  const vault = await memoryVault();
  let sites: TestSites | null = null;
  return {
    reopen: async (): Promise<Journal> => {
      await sites?.[Symbol.asyncDispose]();
      const journal = await vault.reopen();
      const opened = testSites({ openGroup: async () => unowned(journal), clock });
      sites = opened;
      await opened.link.whenUp({ signal: AbortSignal.timeout(5000) });
      const intake = opened.link.intake(testGroup);
      await intake.ask();
      return remoteJournal(intake, journal);
    },
    [Symbol.asyncDispose]: async () => {
      await sites?.[Symbol.asyncDispose]();
      await vault[Symbol.asyncDispose]();
    },
  };
}

journalContract("across a link", () => subject());
intakeContract("across a link", () => subject());

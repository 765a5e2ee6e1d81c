import { isFault } from "../src/base/fault.ts";
import { MemoryLockTable } from "../src/journal/memory-locks.ts";
import { initVault, type OpenVaultOptions, openVault } from "../src/journal/vault.ts";
import { virtualClock } from "./clock.ts";
import { simFileSystem } from "./file-system.ts";
import type { Medium } from "./medium.ts";
import type { OpenVault, VaultRoom, VaultUnderTest } from "./vault.ts";

const directory = "/vault";

/** The directory vault on a medium of the world's. Made in the first life that gets so far. */
export function directoryVaultUnderTest(medium: Medium): VaultUnderTest {
  // The kernel's part of a lock takes no step of ours.
  const table = new MemoryLockTable(simFileSystem({ medium, clock: virtualClock() }));
  let process = table.process();
  return {
    open: (room) => openIn(room, room.locks(process.locks)),
    kill: () => {
      process.kill();
      process = table.process();
    },
  };
}

async function openIn(room: VaultRoom, locks: OpenVaultOptions["locks"]): Promise<OpenVault> {
  const { files, clock, prng, group } = room;
  await using opening = new AsyncDisposableStack();
  const codec = room.swarm.vault.codec;
  const options = { files, directory, locks, clock, prng, codec, mode: "write" } as const;
  const vault = opening.use(await openOrMake(options));
  await vault.createGroup(group);
  const journal = opening.use(await vault.journal(group));
  for (const note of journal.notes) room.tell(`vault: ${note}`);
  const opened = opening.move();
  return {
    journal,
    upkeep: async () => {},
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

async function openOrMake(options: OpenVaultOptions) {
  try {
    return await openVault(options);
  } catch (error) {
    if (!isFault(error, "VAULT_MISSING")) throw error;
  }
  await initVault(options.files, directory, options);
  return await openVault(options);
}

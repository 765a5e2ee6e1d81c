import { isFault } from "../src/base/fault.ts";
import type { Point } from "../src/core/point.ts";
import type { DirectoryJournal } from "../src/journal/directory-journal.ts";
import { MemoryLockTable } from "../src/journal/memory-locks.ts";
import { moveBase } from "../src/journal/move-base.ts";
import { thin } from "../src/journal/thin.ts";
import { initVault, type OpenVaultOptions, openVault } from "../src/journal/vault.ts";
import { verifyGroup } from "../src/journal/verify-group.ts";
import { happens } from "./chance.ts";
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
    openView: async (point) => {
      if (happens(room.dice, 0.5)) return journal.open(point);
      const reader = await vault.reader(group);
      return reader.open(point);
    },
    verify: async () => {
      const { signal } = new AbortController();
      const report = await verifyGroup(journal.group, async () => {}, { signal });
      const ids = (points: readonly Point[]) => points.map(({ id }) => id);
      for (const finding of report.findings) room.tell(`verify: ${finding.problems[0]}`);
      return { good: ids(report.pointsGood), lost: ids(report.pointsLost) };
    },
    upkeep: () => upkeep(journal, room),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** What retention asks for: fewer points, older ones into the base. */
async function upkeep(journal: DirectoryJournal, room: VaultRoom): Promise<void> {
  const { dice, oracle, swarm, tell } = room;
  const { signal } = new AbortController();
  const points = journal.points();
  const [head, excess] = [points.at(-1), points.length - swarm.vault.pointsMax];
  if (head === undefined) return;
  if (excess > 0 && happens(dice, 0.6)) {
    const to = points[excess] ?? head;
    tell(`upkeep: base to #${to.sequence}`);
    oracle.mayRetire(points.slice(0, excess).map(({ id }) => id));
    await moveBase(journal, { to: to.id, signal });
    return;
  }
  const keep = points.filter((point) => point === head || happens(dice, 0.6)).map(({ id }) => id);
  tell(`upkeep: thin, keep ${keep.length} of ${points.length}`);
  oracle.mayRetire(points.map(({ id }) => id).filter((id) => !keep.includes(id)));
  await thin(journal, { keep, signal });
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

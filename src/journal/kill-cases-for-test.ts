import { expect } from "vitest";
import { isFault } from "../base/fault.ts";
import type { PointId } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { TestHistory } from "./history-for-test.ts";
import { KillableFiles } from "./killable-files-for-test.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

/** Disks of a few blocks: what is tested is the order of things. */
const unit = 2 * blockSizeBytes;
const signal = new AbortController().signal;
const checkpointSpans = { runningRecords: 4, closingRecords: 1 };

/** Eight points over two disks, one of which comes and one of which goes on the way. */
export async function filledVault(options: {
  files?: KillableFiles;
  seed: number;
  points?: number;
}) {
  const files = options.files ?? new KillableFiles();
  const vault = await memoryVault({ wrap: (inner) => files.wrap(inner), checkpointSpans });
  const journal = await vault.reopen();
  const history = new TestHistory(options.seed);
  const data = history.addDisk("db/data", 3 * unit + 1536);
  const log = history.addDisk("db/log", 2 * unit);
  for (let count = 0; count < (options.points ?? 8); count += 1) {
    if (count === 2) history.resize(data, 2 * unit + 512);
    if (count === 3) history.addDisk("db/late", unit);
    if (count === 4) history.resize(data, 4 * unit);
    if (count === 5) history.disks = history.disks.filter((disk) => disk !== log);
    history.scribble(3);
    await history.seal(journal);
  }
  return { vault, journal, history, files };
}

/** What a restart finds, and that life goes on. */
export async function expectAllRight(
  vault: TestVault,
  history: TestHistory,
): Promise<DirectoryJournal> {
  const journal = await vault.reopen();
  history.generation = journal.generation ?? history.generation;
  await history.check(journal);
  history.scribble(3);
  await history.seal(journal);
  return journal;
}

export type Work = (journal: DirectoryJournal, history: TestHistory) => Promise<unknown>;
const pointAt = (journal: DirectoryJournal, place: number): PointId => journal.points()[place]!.id;
const addingADisk: Work = (journal, history) => {
  history.addDisk("db/new", unit);
  return history.seal(journal);
};
const raising = (journal: DirectoryJournal) =>
  journal.raiseGeneration({ holder: "00000000000000bb", reason: "Handed over." });
const confirming = async (journal: DirectoryJournal) => {
  const { id, instant } = journal.head()!;
  await journal.confirmCurrent({ point: id, atMs: instant.lowerMs + 1 });
};
/** What is interrupted. */
export const works: readonly (readonly [string, Work])[] = [
  ["sealing", (journal, history) => history.seal(journal)],
  ["adding a disk", addingADisk],
  ["thinning", (journal) => journal.thin({ keep: [pointAt(journal, 2)], signal })],
  ["raising the generation", (journal) => raising(journal)],
  ["confirming", (journal) => confirming(journal)],
  ["moving the base", (journal) => journal.moveBase({ to: pointAt(journal, 3), signal })],
];

/** Interrupts `work` at changes of files, evenly taken from all of them, and checks what is there afterwards. */
export async function interruptEverywhere(
  work: Work,
  mode: "killed" | "full",
  killsMax: number,
): Promise<void> {
  const files = new KillableFiles();
  const counted = await filledVault({ seed: 3, points: 5, files });
  await backgroundOf(counted.journal);
  const before = files.changes;
  counted.history.scribble(4);
  await work(counted.journal, counted.history);
  const changes = files.changes - before;
  const step = Math.max(1, Math.floor(changes / killsMax));
  for (let at = 1; at <= changes; at += step) {
    const run = await filledVault({ seed: 3, points: 5 });
    await backgroundOf(run.journal);
    run.history.scribble(4);
    run.files.mode = mode;
    run.files.killAt = run.files.changes + at;
    const failure = await work(run.journal, run.history).then(
      () => null,
      (error: unknown) => error,
    );
    if (failure !== null && !isFault(firstOf(failure))) throw failure;
    run.files.killAt = null;
    forgetUnsealed(run.history);
    if (mode === "killed") {
      await backgroundOf(run.journal);
      run.vault.kill();
      await adoptHead(run.vault, run.history);
      await expectAllRight(run.vault, run.history);
    } else {
      // Room came back: the same process goes on.
      await run.history.check(run.journal);
      run.history.generation = run.journal.generation ?? run.history.generation;
      run.history.scribble(3);
      await run.history.seal(run.journal);
      await run.history.check(await run.vault.reopen());
    }
  }
}

/** What goes on behind the work has ended. */
async function backgroundOf({ indexCache, checkpoint }: DirectoryJournal): Promise<void> {
  await indexCache.settled();
  await checkpoint.settled();
}

/** Giving up fails too when the medium is gone; what it suppressed came first. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

/** A disk that never came into a point was never there. */
function forgetUnsealed(history: TestHistory): void {
  history.disks = history.disks.filter((disk) => disk.sealedSizeBytes !== null);
}

/** A kill between the rename and the answer: the point may be there after the restart, and is then what the guest had. */
async function adoptHead(vault: TestVault, history: TestHistory): Promise<void> {
  const journal = await vault.reopen();
  const head = journal.head();
  if (head === null || history.remembered.has(head.id)) return;
  const known = new Set(history.disks.map((disk) => disk.identity));
  const isNew = head.disks.some((disk) => !known.has(disk.identity));
  expect(head.disks.length).toBe(history.disks.length + (isNew ? 1 : 0));
  if (isNew) history.disks.push(history.lastAdded!);
  history.acknowledge(head.id);
}

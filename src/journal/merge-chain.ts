import assert from "node:assert/strict";
import { join } from "node:path";
import type { PointHeader } from "../core/point.ts";
import { mergeDeltas } from "../delta/merge.ts";
import { mergeHeaders } from "../delta/merge-headers.ts";
import type { DeltaReader } from "../delta/reader.ts";
import type { FinishedDelta } from "../delta/writer.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { openSealed } from "./delta-files.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import type { LedgerDelta } from "./group-state.ts";
import { deltaFileName } from "./vault-layout.ts";

/** Deltas merged at once; longer runs are merged in several rounds. Each is open, with its index in memory. */
export const mergedAtOnceMax = 32;

/** A merged delta that lies in `incoming`, complete and durable. */
export interface MergedDelta {
  /** Name of its file: none that was ever sealed, because sealed files never change. */
  readonly file: string;
  readonly header: PointHeader;
  readonly finished: FinishedDelta;
  readonly sources: readonly LedgerDelta[];
}

/** Writes one delta that does what neighbouring ones do together. */
export async function writeMerged(
  journal: DirectoryJournal,
  sources: readonly LedgerDelta[],
  signal: AbortSignal,
): Promise<MergedDelta> {
  const { files, layout } = journal.group;
  await using opened = new AsyncDisposableStack();
  const readers: DeltaReader[] = [];
  for (const { file, contentRoot } of sources) {
    const path = join(layout.deltas, file);
    readers.push(opened.use(await openSealed(files, { path, contentRoot })));
  }
  const header = mergeHeaders(readers.map((reader) => reader.header));
  const file = deltaFileName(header);
  const path = join(layout.incoming, file);
  await files.remove(path);
  const codec = journal.codecFor(header);
  const finished = await mergeDeltas({ files, path, header, codec, readers, signal });
  return { file, header, finished, sources };
}

/** Renames a merged delta into place. Until the ledger knows it, the next start removes it. */
export async function placeMerged(journal: DirectoryJournal, { file }: MergedDelta) {
  const { files, layout, state } = journal.group;
  const isTaken = state.deltas().some((delta) => delta.file === file);
  assert(!isTaken, "a sealed file is never replaced");
  await files.rename(join(layout.incoming, file), join(layout.deltas, file));
  await files.syncDirectory(layout.deltas);
}

/** Enters that views read the merged delta from now on instead of its sources. */
export async function recordMerged(journal: DirectoryJournal, merged: MergedDelta) {
  const { file, header, finished, sources } = merged;
  const { machines, ...point } = header;
  const machinesHash = await journal.group.machines.keep(machines);
  const { contentRoot, dataBytes, zeroBytes, sizeBytes: storedBytes } = finished;
  const body = {
    point,
    machinesHash,
    contentRoot,
    file,
    // What the source was asked for stands in the records of the points that were merged.
    cost: { dirtyBytes: 0, readBytes: 0, dataBytes, zeroBytes, storedBytes },
    sources: sources.map((source) => ({ contentRoot: source.contentRoot, file: source.file })),
  };
  const entry: LedgerEntry = { kind: "deltas-merged", body: body as never };
  await journal.enter(entry);
}

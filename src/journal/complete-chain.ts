import { join } from "node:path";
import type { PointHeader } from "../core/point.ts";
import { mergeHeaders } from "../delta/merge-headers.ts";
import { createDelta, type DeltaWriter, type FinishedDelta } from "../delta/writer.ts";
import { notesMax } from "../format/delta-limits.ts";
import { type CoveredRun, coveredRuns } from "./covered-blocks.ts";
import { openSealed } from "./delta-files.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { completedNote, type LedgerDelta } from "./group-state.ts";
import type { MergedDelta } from "./merge-chain.ts";
import { deltaFileName } from "./vault-layout.ts";
import type { DirectoryView } from "./view.ts";

/** Whether every block that the chain touches is held by it whole. */
export function holdsWholeBlocks(chainOnly: DirectoryView): boolean {
  for (const { identity, sizeBytes } of chainOnly.disks) {
    for (const run of coveredRuns(chainOnly.disk(identity).index, sizeBytes)) {
      if (!run.isWhole) return false;
    }
  }
  return true;
}

/**
 * Writes one delta that does what the chain does, with every block it touches whole: what the chain lacks of a block is read
 * from the base beneath. Only so can the base be replaced block by block without any reader depending on half a block.
 */
export async function writeCompleted(
  journal: DirectoryJournal,
  sources: readonly LedgerDelta[],
  view: DirectoryView,
  chainOnly: DirectoryView,
  signal: AbortSignal,
): Promise<MergedDelta> {
  const { files, layout } = journal.group;
  const header = await completedHeader(journal, sources);
  const file = deltaFileName(header, true);
  const path = join(layout.incoming, file);
  await files.remove(path);
  const codec = journal.codecFor(header);
  await using writer = await createDelta({ files, path, header, codec, signal });
  for (const [place, { identity, sizeBytes, previousSizeBytes }] of header.disks.entries()) {
    for (const run of coveredRuns(chainOnly.disk(identity).index, sizeBytes)) {
      await writeRun(writer, place, run, (at, into) => view.read(identity, at, into));
    }
    if (previousSizeBytes !== null && previousSizeBytes > sizeBytes) {
      await writer.zero(place, sizeBytes, previousSizeBytes - sizeBytes);
    }
  }
  const finished: FinishedDelta = await writer.finish();
  return { file, header, finished, sources };
}

async function writeRun(
  writer: DeltaWriter,
  disk: number,
  run: CoveredRun,
  read: (offsetBytes: number, into: Uint8Array) => Promise<void>,
): Promise<void> {
  const lengthBytes = run.endBytes - run.offsetBytes;
  if (run.isZero) return writer.zero(disk, run.offsetBytes, lengthBytes);
  const data = Buffer.allocUnsafe(lengthBytes);
  await read(run.offsetBytes, data);
  await writer.write(disk, run.offsetBytes, data);
}

async function completedHeader(journal: DirectoryJournal, sources: readonly LedgerDelta[]) {
  const { files, layout } = journal.group;
  const headers: PointHeader[] = [];
  for (const { file, contentRoot } of sources) {
    const path = join(layout.deltas, file);
    await using reader = await openSealed(files, { path, contentRoot });
    headers.push(reader.header);
  }
  const merged = mergeHeaders(headers);
  return { ...merged, notes: [...merged.notes.slice(-(notesMax - 1)), completedNote] };
}

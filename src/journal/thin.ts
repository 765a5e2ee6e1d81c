import type { PointId } from "../core/ids.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { tidyDeltas } from "./group-recovery.ts";
import type { GroupState, LedgerDelta } from "./group-state.ts";
import { mergedAtOnceMax, placeMerged, recordMerged, writeMerged } from "./merge-chain.ts";
import { checkPins, retirePoints } from "./retire-points.ts";

/**
 *   check-pins ─▶ retire ─▶ check-pins-again ─▶ ┌ merge ─▶ place ─▶ record ┐ ─▶ tidy
 *                                                └──── for each run ◀───────┘
 *
 * A kill anywhere leaves what the ledger says: retired points whose deltas are not merged yet are merged by the next thinning,
 * a merged delta that was not recorded is removed at the next start, sources that were recorded as merged are tidied then.
 */
export const thinPhases = [
  "check-pins",
  "retire",
  "check-pins-again",
  "merge",
  "place",
  "record",
  "tidy",
] as const;
export type ThinPhase = (typeof thinPhases)[number];

export interface ThinOptions {
  /** Points that stay; the newest stays anyway. */
  readonly keep: readonly PointId[];
  readonly signal: AbortSignal;
  /** Why, one sentence; for the ledger. */
  readonly reason?: string;
  readonly onPhase?: (phase: ThinPhase) => void | Promise<void>;
  /** Deltas merged so far. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** What thinning did. */
export interface ThinResult {
  readonly retired: number;
  /** Deltas that are now part of merged ones. */
  readonly merged: number;
}

/** Retires all points but those kept and merges their deltas. POINT_PINNED; POINT_UNKNOWN or POINT_RETIRED for a point to keep. */
export async function thin(journal: DirectoryJournal, options: ThinOptions): Promise<ThinResult> {
  const { group } = journal;
  const { signal, onPhase = () => {} } = options;
  const kept = new Set(options.keep.map((id) => group.pointNamed(id).facts.sequence));
  const { headSequence } = group.state;
  const isGoing = (sequence: number) => sequence < headSequence && !kept.has(sequence);

  await onPhase("check-pins");
  signal.throwIfAborted();
  await checkPins(group, isGoing);
  await onPhase("retire");
  const going = group.state.points().filter((point) => isGoing(point.facts.sequence));
  await retirePoints(journal, going, options.reason ?? "Thinned.");
  await onPhase("check-pins-again");
  // Whoever pinned between the two looks saw the point open: its deltas must stay until it is done.
  await checkPins(group, isGoing);
  const merged = await mergeRetired(journal, options);
  await onPhase("tidy");
  await tidyDeltas(group);
  journal.refreshIndexCache();
  return { retired: going.length, merged };
}

/** Merges until no two neighbouring deltas meet at a retired point. */
async function mergeRetired(journal: DirectoryJournal, options: ThinOptions): Promise<number> {
  const { state } = journal.group;
  const { signal, onPhase = () => {} } = options;
  const total = runsToMerge(state).reduce((sum, run) => sum + run.length, 0);
  let done = 0;
  for (;;) {
    const run = runsToMerge(state)[0];
    if (run === undefined) return done;
    signal.throwIfAborted();
    const sources = cheapestPart(run);
    await onPhase("merge");
    const merged = await writeMerged(journal, sources, signal);
    await onPhase("place");
    await placeMerged(journal, merged);
    await onPhase("record");
    await recordMerged(journal, merged);
    done += sources.length;
    options.onProgress?.({ done, total: Math.max(done, total) });
  }
}

/** Runs of two deltas or more between which no point can be opened. */
function runsToMerge(state: GroupState): LedgerDelta[][] {
  const runs: LedgerDelta[][] = [];
  let run: LedgerDelta[] = [];
  for (const delta of state.deltas()) {
    run.push(delta);
    if (state.pointAt(delta.sequence) === null) continue;
    if (run.length > 1) runs.push(run);
    run = [];
  }
  return runs;
}

/** Of a run too long to be merged at once the part with the fewest bytes: what was merged before is not soon merged again. */
function cheapestPart(run: readonly LedgerDelta[]): readonly LedgerDelta[] {
  let cheapest = run.slice(0, mergedAtOnceMax);
  for (let start = mergedAtOnceMax; start < run.length; start += mergedAtOnceMax) {
    const part = run.slice(start, start + mergedAtOnceMax);
    if (part.length > 1 && storedBytesOf(part) < storedBytesOf(cheapest)) cheapest = part;
  }
  return cheapest;
}

function storedBytesOf(deltas: readonly LedgerDelta[]): number {
  return deltas.reduce((sum, delta) => sum + delta.storedBytes, 0);
}

import { mapOrdered } from "../base/map-ordered.ts";
import type { PointId } from "../core/ids.ts";
import type { PointDisk } from "../core/point.ts";
import { BaseDisk } from "./base-disk.ts";
import { holdsWholeBlocks, writeCompleted } from "./complete-chain.ts";
import { coveredRuns } from "./covered-blocks.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { removeNobodysBases, tidyDeltas } from "./group-recovery.ts";
import type { LedgerDelta, LedgerPoint } from "./group-state.ts";
import { placeMerged, recordMerged } from "./merge-chain.ts";
import { checkPins, retirePoints } from "./retire-points.ts";
import { blockStorePaths } from "./vault-layout.ts";
import { type DirectoryView, openView } from "./view.ts";

/**
 *   check-pins ─▶ retire ─▶ check-pins-again ─▶ complete ─▶ apply ─▶ make-durable ─▶ record ─▶ tidy
 *
 * Until `record` the ledger says that the base stands where it stood, and every point that can be opened lies at or above the target:
 * its view takes each block that is being replaced from the deltas, never from the base. So a kill anywhere leaves all points right,
 * and applying again comes to the same end.
 */
export const moveBasePhases = [
  "check-pins",
  "retire",
  "check-pins-again",
  "complete",
  "apply",
  "make-durable",
  "record",
  "tidy",
] as const;
export type MoveBasePhase = (typeof moveBasePhases)[number];

export interface MoveBaseOptions {
  /** The point at which the base will stand: the oldest that can be opened afterwards. */
  readonly to: PointId;
  readonly signal: AbortSignal;
  /** Why, one sentence; for the ledger. */
  readonly reason?: string;
  readonly onPhase?: (phase: MoveBasePhase) => void | Promise<void>;
  /** Bytes written to the base so far; how many it will be is not known before. */
  readonly onProgress?: (progress: { readonly doneBytes: number }) => void;
}

/** What moving the base did. */
export interface MoveBaseResult {
  readonly retired: number;
  /** Deltas that are now in the base. */
  readonly applied: number;
  /** Data written to the base. */
  readonly writtenBytes: number;
}

/** Windows read and written at once. */
const windowsInFlightMax = 4;

/** Moves the base up to a point and retires those before it. POINT_PINNED, POINT_UNKNOWN, POINT_RETIRED, DELTA_CORRUPT, STORAGE_*. */
export async function moveBase(
  journal: DirectoryJournal,
  options: MoveBaseOptions,
): Promise<MoveBaseResult> {
  const { group } = journal;
  const { signal, onPhase = () => {} } = options;
  const target = group.pointNamed(options.to);
  const { sequence } = target.facts;
  const isGoing = (at: number) => at < sequence;

  await onPhase("check-pins");
  signal.throwIfAborted();
  await checkPins(group, isGoing);
  await onPhase("retire");
  const going = group.state.points().filter((point) => isGoing(point.facts.sequence));
  await retirePoints(journal, going, options.reason ?? "The base moved beyond it.");
  await onPhase("check-pins-again");
  // Whoever pinned between the two looks saw the point open: the base must not move beyond it.
  await checkPins(group, isGoing);
  await onPhase("complete");
  await completeBlocks(journal, target, signal);
  const chain = group.state.chainTo(sequence);
  // A view opened before its chain was completed reads halves of blocks from the base.
  if (chain.some((delta) => delta.isCompleted)) await checkPins(group, () => true);
  await onPhase("apply");
  const writtenBytes = await applyChain(journal, target, { ...options, onPhase });
  await onPhase("record");
  if (chain.length > 0) {
    const contentRoots = chain.map((delta) => delta.contentRoot);
    await journal.enter({ kind: "base-moved", body: { sequence, contentRoots } });
  }
  await onPhase("tidy");
  await tidyDeltas(group);
  await removeNobodysBases(group, journal.staging);
  journal.refreshIndexCache();
  return { retired: going.length, applied: chain.length, writtenBytes };
}

/** The target's disks over the given deltas; over the base too, or the deltas alone. */
function viewOf(
  journal: DirectoryJournal,
  target: LedgerPoint,
  chain: readonly LedgerDelta[],
  isOverBase: boolean,
): Promise<DirectoryView> {
  const { group } = journal;
  const { files, layout } = group;
  const { disks } = target.facts;
  const point = group.pointOf(target);
  return openView({ files, layout, point, disks, chain, isOverBase, pin: null });
}

/** Makes sure that the chain holds every block it touches whole, by merging it once when it does not. */
async function completeBlocks(
  journal: DirectoryJournal,
  target: LedgerPoint,
  signal: AbortSignal,
): Promise<void> {
  const chain = journal.group.state.chainTo(target.facts.sequence);
  await using chainOnly = await viewOf(journal, target, chain, false);
  if (holdsWholeBlocks(chainOnly)) return;
  await using view = await viewOf(journal, target, chain, true);
  const completed = await writeCompleted(journal, chain, view, chainOnly, signal);
  await placeMerged(journal, completed);
  await recordMerged(journal, completed);
}

async function applyChain(
  journal: DirectoryJournal,
  target: LedgerPoint,
  options: MoveBaseOptions & Required<Pick<MoveBaseOptions, "onPhase">>,
): Promise<number> {
  const { files, layout, state } = journal.group;
  const chain = state.chainTo(target.facts.sequence);
  await using opened = new AsyncDisposableStack();
  const bases: BaseDisk[] = [];
  let writtenBytes = 0;
  if (chain.length > 0) {
    await using chainOnly = await viewOf(journal, target, chain, false);
    for (const disk of target.facts.disks) {
      const paths = blockStorePaths(layout.base, disk.identity);
      const base = opened.use(await BaseDisk.open(files, paths, disk.identity, "write"));
      bases.push(base);
      for await (const lengthBytes of applied(base, disk, chainOnly, options.signal)) {
        writtenBytes += lengthBytes;
        options.onProgress?.({ doneBytes: writtenBytes });
      }
      await base.resize(disk.sizeBytes);
    }
  }
  await options.onPhase("make-durable");
  for (const base of bases) await base.sync();
  return writtenBytes;
}

/** Writes what the deltas hold of one disk over its base; yields the bytes of data written. */
async function* applied(
  base: BaseDisk,
  disk: PointDisk,
  chainOnly: DirectoryView,
  signal: AbortSignal,
): AsyncGenerator<number, void, undefined> {
  const runs = coveredRuns(chainOnly.disk(disk.identity).index, disk.sizeBytes);
  yield* mapOrdered(runs, windowsInFlightMax, async ({ offsetBytes, endBytes, isZero }) => {
    signal.throwIfAborted();
    const lengthBytes = endBytes - offsetBytes;
    if (isZero) {
      await base.zero(offsetBytes, lengthBytes);
      return 0;
    }
    const data = Buffer.allocUnsafeSlow(lengthBytes);
    await chainOnly.read(disk.identity, offsetBytes, data);
    await base.write(offsetBytes, data);
    return lengthBytes;
  });
}

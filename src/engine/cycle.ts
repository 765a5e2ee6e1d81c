import assert from "node:assert/strict";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { Prng } from "../base/prng.ts";
import type { ClockComparison } from "../core/clock-comparison.ts";
import { type DiskName, drawPointId, type GroupName, type PointId } from "../core/ids.ts";
import type { Sealing, StagedDisk } from "../core/journal.ts";
import type { Point, PointDisk, PointHeader } from "../core/point.ts";
import type { Snapshot, Source } from "../core/source.ts";
import {
  acknowledgedPoint,
  type CycleIntake,
  type Route,
  type RoutedWriter,
} from "./cycle-intake.ts";
import { type CycleReport, reportOf } from "./cycle-report.ts";
import { faultOf } from "./fault-of.ts";
import { isLinkFault, isWayFault } from "./link-faults.ts";
import { PendingWriter } from "./pending-writer.ts";
import { type PhaseHook, PhaseTimer } from "./phase.ts";
import type { Pace } from "./read-pace.ts";
import type { DiskStanding, GroupStanding, SyncingDisk } from "./standing.ts";
import { type TransferCounts, type TransferDisk, transfer } from "./transfer.ts";

export { type CyclePhase, cyclePhases } from "./phase.ts";

/** Which history the points join, and who claims to write it; the number of the generation is the vault's to say. */
export interface CycleGroup {
  readonly name: GroupName;
  /** 16 hex digits. */
  readonly holder: string;
}

/** What one cycle takes; `standing` comes from `attach`, `syncGroup` or the cycle before. */
export interface CycleOptions {
  readonly source: Source;
  readonly journal: CycleIntake;
  readonly group: CycleGroup;
  readonly standing: GroupStanding;
  /** By the bitmaps' own counts just before; null or not given while that is not known. */
  readonly dirtyBytes?: number | null;
  /** Holds reads from the source to their caps; not given: none. */
  readonly pace?: Pace;
  /** How the two sites' clocks differ now; not given, or null: never compared. */
  readonly clockComparison?: () => ClockComparison | null;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly signal: AbortSignal;
  readonly onPhase?: PhaseHook;
  /** The way to the vault failed and the point goes on by way of the spool. */
  readonly onDivert?: (fault: Fault) => void;
}

/** A sealed point, and where the next cycle starts from. */
export interface CycleOutcome {
  readonly report: CycleReport;
  readonly standing: GroupStanding;
  /** Why the source could not yet forget what was sealed; the next attach removes it. Null when it did. */
  readonly forgetError: unknown;
  /** The point whose bitmap was kept besides the new one's, for what waits in a spool; null when none was. */
  readonly owedSince: PointId | null;
}

/**
 * Cuts one point and seals it. Whatever fails before the seal gives the point up: the bitmaps that were there go on recording
 * and the next cycle carries everything. Whatever fails after it is no failure of the point.
 */
export async function replicateOnce(options: CycleOptions): Promise<CycleOutcome> {
  const { source, journal, standing, clock, signal } = options;
  const startedAtMs = clock.monotonicMs();
  const phases = new PhaseTimer(clock, options.onPhase);
  await phases.enter("ask-head");
  const head = journal.head();
  requireSameHead(head, standing);
  await journal.plan?.({
    dirtyBytes: options.dirtyBytes ?? null,
    adopts: standing.disks.some((disk) => disk.state === "syncing"),
    failed: null,
  });

  await phases.enter("freeze");
  const id = drawPointId(options.prng);
  const since = new Map(standing.disks.map((disk) => [disk.name, recordedSince(disk)]));
  await using snapshot = await source.freeze({ id, since, signal });
  requireSameDisks(snapshot, standing);

  try {
    const comparison = options.clockComparison?.() ?? null;
    const header = headerOf({ id, head, snapshot, comparison, ...options });
    const previous = acknowledgedPoint(journal);
    const written = await writePoint({ options, header, snapshot, phases, comparison });
    const sealedAtMs = clock.nowMs();
    // Only now may the source forget: a crash above repeats the cycle, a crash below loses nothing.
    const owedSince = journal.owedSince();
    const forgetError = await forget(snapshot, owedSince, phases);
    const durationMs = clock.monotonicMs() - startedAtMs;
    const phasesMs = phases.durationsMs();
    return {
      report: reportOf({ ...written, previous, sealedAtMs, durationMs, phasesMs }),
      standing: standingAt(written.point),
      forgetError,
      owedSince,
    };
  } catch (error) {
    // What broke because the point in time was lost is told by the loss, not by its echo.
    if (snapshot.lost.aborted && !signal.aborted) throw snapshot.lost.reason;
    throw error;
  }
}

interface PointWriting {
  readonly options: CycleOptions;
  readonly header: PointHeader;
  readonly snapshot: Snapshot;
  readonly phases: PhaseTimer;
  readonly comparison: ClockComparison | null;
}

interface WrittenPoint {
  readonly point: Point;
  readonly counts: TransferCounts;
  readonly route: Route;
}

/** Writes the point; when the way to the vault fails while the snapshot can still be read, once more from the beginning. */
async function writePoint(writing: PointWriting): Promise<WrittenPoint> {
  const { options, header } = writing;
  const reading = { isOver: false };
  try {
    return await tryToWrite(writing, reading);
  } catch (error) {
    const fault = faultOf(error);
    // Without a spool there is no second way, and the journal says so again.
    if (options.journal.plan === undefined || options.signal.aborted) throw error;
    if (fault === null || !isWayFault(error)) throw error;
    if (reading.isOver && isLinkFault(error)) throw error;
    const adopts = options.standing.disks.some((disk) => disk.state === "syncing");
    await options.journal.plan({ dirtyBytes: null, adopts, failed: fault });
    // The point in time was let go before the vault found that it had no room; the next one goes the other way.
    if (reading.isOver) throw error;
    options.onDivert?.(fault);
    assert(header.id === writing.snapshot.id, "the same point is written again");
    return await tryToWrite(writing, reading);
  }
}

async function tryToWrite(
  { options, header, snapshot, phases, comparison }: PointWriting,
  reading: { isOver: boolean },
): Promise<WrittenPoint> {
  const { journal, standing, pace } = options;
  const working = AbortSignal.any([options.signal, snapshot.lost]);
  await phases.enter("begin");
  // Making the file takes as long as asking the source what changed, or as letting it go when nothing did.
  await using pending = new PendingWriter<RoutedWriter>(journal.begin(header));
  await phases.enter("extents");
  const counts = await transfer({
    snapshot,
    writer: pending,
    disks: transferDisks(snapshot, standing),
    signal: working,
    onFirst: (what) => phases.enter(what),
    ...(pace === undefined ? {} : { pace }),
  });
  const writer = await pending.ready;
  reading.isOver = true;
  await phases.enter("release");
  await snapshot.release();
  // The source has now said everything it had to say about the reads above.
  working.throwIfAborted();
  await using adopted = new AsyncDisposableStack();
  await phases.enter("adopt");
  await adoptStaged(journal, writer, standing, adopted);
  await phases.enter("seal");
  working.throwIfAborted();
  const { dirtyBytes, readBytes } = counts;
  const sealing = { dirtyBytes, readBytes, clock: comparison };
  const point = await seal({ journal, writer, snapshot, id: header.id, sealing });
  return { point, counts, route: writer.route ?? "direct" };
}

/** What the disk's changes are counted from. */
function recordedSince(disk: DiskStanding): PointId {
  return disk.state === "tracked" ? disk.since : disk.syncId;
}

/** How the group stands once `point` is the head and the source has forgotten what came before. */
export function standingAt(point: Point): GroupStanding {
  const disks = point.disks.map((disk) => ({
    state: "tracked" as const,
    name: disk.name,
    identity: disk.identity,
    since: point.id,
    previousSizeBytes: disk.sizeBytes,
    countedSizeBytes: disk.sizeBytes,
  }));
  return {
    headId: point.id,
    generation: point.generation,
    disks: disks.sort((a, b) => (a.name < b.name ? -1 : 1)),
    notes: [],
  };
}

function requireSameHead(head: Point | null, standing: GroupStanding): void {
  if ((head?.id ?? null) === standing.headId) return;
  throw new Fault("SEAL_REFUSED", "The vault's head is not the point that bitmaps count from.", {
    head: head?.id ?? null,
    expected: standing.headId,
  });
}

/** A group whose disks are others than those that were attached must be looked at again before anything is sealed. */
function requireSameDisks(snapshot: Snapshot, standing: GroupStanding): void {
  const frozen = new Map(snapshot.disks.map((disk) => [disk.name, disk]));
  const attached = new Set<DiskName>();
  for (const disk of standing.disks) {
    attached.add(disk.name);
    const now = frozen.get(disk.name);
    if (now === undefined) throw changed(disk.name, "it is not there any more");
    if (disk.state === "syncing" && now.sizeBytes !== disk.sizeBytes) {
      throw changed(disk.name, "its size changed while it was read whole");
    }
  }
  for (const name of frozen.keys()) {
    if (!attached.has(name)) throw changed(name, "it is new");
  }
}

function changed(disk: DiskName, what: string): Fault {
  return new Fault("BITMAP_LOST", `${disk} must be attached again: ${what}.`, { disk });
}

function headerOf(options: {
  id: PointId;
  head: Point | null;
  snapshot: Snapshot;
  comparison: ClockComparison | null;
  journal: CycleIntake;
  group: CycleGroup;
  standing: GroupStanding;
}): PointHeader {
  const { id, head, snapshot, comparison, journal, group, standing } = options;
  const clockErrorMs =
    comparison === null
      ? snapshot.instant.clockErrorMs
      : Math.ceil(Math.abs(comparison.offsetMs) + comparison.errorMs);
  return {
    id,
    group: group.name,
    generation: standing.generation,
    sequence: journal.nextSequence?.() ?? (head?.sequence ?? 0) + 1,
    fromSequence: head?.sequence ?? 0,
    fromPoint: head?.id ?? null,
    instant: { ...snapshot.instant, clockErrorMs },
    consistency: snapshot.consistency,
    disks: standing.disks.map((disk) => pointDisk(disk, snapshot)),
    machines: snapshot.machines,
    notes: standing.notes,
  };
}

function pointDisk(disk: DiskStanding, snapshot: Snapshot): PointDisk {
  const { name, identity, previousSizeBytes } = disk;
  return { name, identity, sizeBytes: frozenSizeBytes(snapshot, name), previousSizeBytes };
}

function transferDisks(snapshot: Snapshot, standing: GroupStanding): readonly TransferDisk[] {
  return standing.disks.map((disk) => ({
    name: disk.name,
    identity: disk.identity,
    sizeBytes: frozenSizeBytes(snapshot, disk.name),
    countedSizeBytes: disk.state === "tracked" ? disk.countedSizeBytes : disk.sizeBytes,
    headSizeBytes: disk.previousSizeBytes ?? 0,
  }));
}

function frozenSizeBytes(snapshot: Snapshot, name: DiskName): number {
  const disk = snapshot.disks.find((frozen) => frozen.name === name);
  if (disk === undefined) throw changed(name, "it is not there any more");
  return disk.sizeBytes;
}

async function adoptStaged(
  journal: CycleIntake,
  writer: RoutedWriter,
  standing: GroupStanding,
  opened: AsyncDisposableStack,
): Promise<void> {
  for (const disk of standing.disks) {
    if (disk.state === "tracked") continue;
    const staged: StagedDisk = opened.use(await journal.stage(stageRequest(disk)));
    await writer.adopt(staged);
  }
}

/** How the journal finds the disk's staged parts. */
export function stageRequest(disk: SyncingDisk) {
  const { kind, name, identity, sizeBytes, syncId } = disk;
  return { kind, disk: name, identity, sizeBytes, syncId } as const;
}

async function seal(options: {
  journal: CycleIntake;
  writer: RoutedWriter;
  snapshot: Snapshot;
  id: PointId;
  sealing: Sealing;
}): Promise<Point> {
  const { journal, writer, snapshot, id, sealing } = options;
  try {
    return await writer.seal(sealing);
  } catch (error) {
    // A lost answer does no harm: if the vault holds the point, it is sealed.
    const head = journal.head();
    if (head?.id === id) return head;
    // Nobody knows yet whether it does: then both bitmaps go on recording, and asking for the head tells which is right.
    if (isLinkFault(error)) {
      await snapshot.forget({ keep: journal.owedSince() ?? head?.id ?? null });
    }
    throw error;
  }
}

async function forget(
  snapshot: Snapshot,
  keep: PointId | null,
  phases: PhaseTimer,
): Promise<unknown> {
  try {
    // Whatever happens now, disposing the snapshot must not take it for given up.
    try {
      await phases.enter("forget");
    } finally {
      await snapshot.forget({ keep });
    }
    await phases.enter("end");
    return null;
  } catch (error) {
    return error;
  }
}

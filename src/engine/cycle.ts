import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { Prng } from "../base/prng.ts";
import { type DiskName, drawPointId, type GroupName, type PointId } from "../core/ids.ts";
import type { Journal, PointWriter, StagedDisk } from "../core/journal.ts";
import type { Generation, Point, PointDisk, PointHeader } from "../core/point.ts";
import type { Snapshot, Source } from "../core/source.ts";
import { type CycleReport, reportOf } from "./cycle-report.ts";
import { PendingWriter } from "./pending-writer.ts";
import { type PhaseHook, PhaseTimer } from "./phase.ts";
import type { DiskStanding, GroupStanding, SyncingDisk } from "./standing.ts";
import { type TransferCounts, type TransferDisk, transfer } from "./transfer.ts";

export { type CyclePhase, cyclePhases } from "./phase.ts";

/** Which history the points join. */
export interface CycleGroup {
  readonly name: GroupName;
  readonly generation: Generation;
}

/** What one cycle takes; `standing` comes from `attach`, `syncGroup` or the cycle before. */
export interface CycleOptions {
  readonly source: Source;
  readonly journal: Journal;
  readonly group: CycleGroup;
  readonly standing: GroupStanding;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly signal: AbortSignal;
  readonly onPhase?: PhaseHook;
}

/** A sealed point, and where the next cycle starts from. */
export interface CycleOutcome {
  readonly report: CycleReport;
  readonly standing: GroupStanding;
  /** Why the source could not yet forget what was sealed; the next attach removes it. Null when it did. */
  readonly forgetError: unknown;
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

  await phases.enter("freeze");
  const id = drawPointId(options.prng);
  const since = new Map(standing.disks.map((disk) => [disk.name, recordedSince(disk)]));
  await using snapshot = await source.freeze({ id, since, signal });
  requireSameDisks(snapshot, standing);
  const working = AbortSignal.any([signal, snapshot.lost]);

  try {
    await phases.enter("begin");
    // Making the file takes as long as asking the source what changed, or as letting it go when nothing did.
    await using pending = new PendingWriter(
      journal.begin(headerOf({ id, head, snapshot, ...options })),
    );
    await phases.enter("extents");
    const counts = await transfer({
      snapshot,
      writer: pending,
      disks: transferDisks(snapshot, standing),
      signal: working,
      onFirst: (what) => phases.enter(what),
    });
    await phases.enter("release");
    await snapshot.release();
    // The source has now said everything it had to say about the reads above.
    working.throwIfAborted();
    const writer = await pending.ready;
    await using adopted = new AsyncDisposableStack();
    await phases.enter("adopt");
    await adoptStaged(journal, writer, standing, adopted);
    await phases.enter("seal");
    working.throwIfAborted();
    const point = await seal(journal, writer, id, counts);
    const sealedAtMs = clock.nowMs();
    // Only now may the source forget: a crash above repeats the cycle, a crash below loses nothing.
    const forgetError = await forget(snapshot, phases);
    const durationMs = clock.monotonicMs() - startedAtMs;
    const phasesMs = phases.durationsMs();
    return {
      report: reportOf({ point, previous: head, counts, sealedAtMs, durationMs, phasesMs }),
      standing: standingAt(point),
      forgetError,
    };
  } catch (error) {
    // What broke because the point in time was lost is told by the loss, not by its echo.
    if (snapshot.lost.aborted && !signal.aborted) throw snapshot.lost.reason;
    throw error;
  }
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
  }));
  return {
    headId: point.id,
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
  group: CycleGroup;
  standing: GroupStanding;
}): PointHeader {
  const { id, head, snapshot, group, standing } = options;
  return {
    id,
    group: group.name,
    generation: group.generation,
    sequence: (head?.sequence ?? 0) + 1,
    fromSequence: head?.sequence ?? 0,
    fromPoint: head?.id ?? null,
    instant: snapshot.instant,
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
    countedSizeBytes: disk.state === "tracked" ? disk.previousSizeBytes : disk.sizeBytes,
    headSizeBytes: disk.previousSizeBytes ?? 0,
  }));
}

function frozenSizeBytes(snapshot: Snapshot, name: DiskName): number {
  const disk = snapshot.disks.find((frozen) => frozen.name === name);
  if (disk === undefined) throw changed(name, "it is not there any more");
  return disk.sizeBytes;
}

async function adoptStaged(
  journal: Journal,
  writer: PointWriter,
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

async function seal(
  journal: Journal,
  writer: PointWriter,
  id: PointId,
  counts: TransferCounts,
): Promise<Point> {
  const { dirtyBytes, readBytes } = counts;
  try {
    return await writer.seal({ dirtyBytes, readBytes });
  } catch (error) {
    // A lost answer does no harm: if the vault holds the point, it is sealed.
    const head = journal.head();
    if (head?.id === id) return head;
    throw error;
  }
}

async function forget(snapshot: Snapshot, phases: PhaseTimer): Promise<unknown> {
  try {
    // Whatever happens now, disposing the snapshot must not take it for given up.
    try {
      await phases.enter("forget");
    } finally {
      await snapshot.forget();
    }
    await phases.enter("end");
    return null;
  } catch (error) {
    return error;
  }
}

import type { DiskIdentity, DiskName, PointId } from "../core/ids.ts";
import type { OwedChanges, StagedStatus } from "../core/journal.ts";
import type { Generation, Point, PointDisk } from "../core/point.ts";
import type { DiskTracking } from "../core/source.ts";

/** A disk whose changes since the head, or since an earlier point, are recorded: the next cycle reads only these. */
export interface TrackedDisk {
  readonly state: "tracked";
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  readonly since: PointId;
  readonly previousSizeBytes: number;
  /** What lies behind is not known to the bitmap of `since`, and is read whole. */
  readonly countedSizeBytes: number;
}

/** A disk that is read whole, or was: once `resumeAtBytes` is its size the next cycle adopts what was staged. */
export interface SyncingDisk {
  readonly state: "syncing";
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  /** `base`: new to the group. `parts`: compared with what the head holds. */
  readonly kind: "base" | "parts";
  readonly syncId: PointId;
  readonly sizeBytes: number;
  readonly resumeAtBytes: number;
  /** True when the source already records under `syncId`; otherwise reading starts over, at 0. */
  readonly isRecording: boolean;
  /** Null when the disk is new. */
  readonly previousSizeBytes: number | null;
  /** Why the disk is read whole, one sentence. */
  readonly cause: string;
}

/** How one disk goes on. */
export type DiskStanding = TrackedDisk | SyncingDisk;

/** How a group stands between cycles: from where each disk's changes count. */
export interface GroupStanding {
  /** The newest point when this was decided; null before the first. */
  readonly headId: PointId | null;
  /** Under which points are cut. */
  readonly generation: Generation;
  /** Sorted by name. */
  readonly disks: readonly DiskStanding[];
  /** What the next point has to say about the way here, one sentence each. */
  readonly notes: readonly string[];
}

/** What vault and source know. */
export interface StandingInput {
  readonly head: Point | null;
  readonly staged: readonly StagedStatus[];
  readonly owed: OwedChanges | null;
  /** Ours, as `decideGeneration` said. */
  readonly generation: Generation;
  readonly tracking: readonly DiskTracking[];
  /** Given to the syncs that start now. */
  readonly newSyncId: PointId;
  readonly drawIdentity: () => DiskIdentity;
  /** Why disks were being read whole before a fault, so that the reason outlives it. */
  readonly causes: ReadonlyMap<DiskName, string>;
}

/** How the group goes on, and what nobody needs any more. */
export interface StandingDecision {
  readonly standing: GroupStanding;
  /** Parts of syncs that nothing continues. */
  readonly stale: readonly StagedStatus[];
}

/** Decides from what vault and source know how each disk goes on. Pure. */
export function decideStanding(input: StandingInput): StandingDecision {
  const decisions = input.tracking
    .map((tracking) => decideDisk(tracking, input))
    .sort((a, b) => (a.disk.name < b.disk.name ? -1 : 1));
  const continued = new Set(decisions.map((decision) => decision.continued));
  const present = new Set(decisions.map((decision) => decision.disk.name));
  const removed = (input.head?.disks ?? []).filter((disk) => !present.has(disk.name));
  return {
    standing: {
      headId: input.head?.id ?? null,
      generation: input.generation,
      disks: decisions.map((decision) => decision.disk),
      notes: [
        ...removed.map((disk) => `${disk.name} was removed from the group.`),
        ...decisions.flatMap((decision) => noteOf(decision.disk, input.head)),
      ],
    },
    stale: input.staged.filter((staged) => !continued.has(staged)),
  };
}

interface DiskDecision {
  readonly disk: DiskStanding;
  /** The staged parts that the disk goes on with, or null. */
  readonly continued: StagedStatus | null;
}

function decideDisk(tracking: DiskTracking, input: StandingInput): DiskDecision {
  const { name, sizeBytes } = tracking.disk;
  const atHead = input.head?.disks.find((disk) => disk.name === name) ?? null;
  const tracked = atHead === null ? null : trackedDisk(tracking, atHead, input);
  if (tracked !== null) return { disk: tracked, continued: null };
  const kind = atHead === null ? "base" : "parts";
  // Parts of another size are not gone on with: that a disk changed its size within a sync is too rare to be clever about.
  const found = input.staged.find(
    (staged) =>
      staged.disk === name &&
      staged.kind === kind &&
      staged.sizeBytes === sizeBytes &&
      (atHead === null || staged.identity === atHead.identity),
  );
  const isRecording = found !== undefined && keptOf(tracking).includes(found.syncId);
  const disk: SyncingDisk = {
    state: "syncing",
    name,
    identity: atHead?.identity ?? found?.identity ?? input.drawIdentity(),
    kind,
    syncId: isRecording ? found.syncId : input.newSyncId,
    sizeBytes,
    resumeAtBytes: isRecording ? found.resumeAtBytes : 0,
    isRecording,
    previousSizeBytes: atHead?.sizeBytes ?? null,
    cause: causeOf(tracking, isRecording, input.causes),
  };
  return { disk, continued: found ?? null };
}

/**
 * From where the bitmaps of a disk that the head holds may count, or null when none may. The head's own bitmap is right. Else, when
 * points of a spool were lost, that of the point they were owed since: if it recorded without a gap (`smallestSizeBytes` names
 * the disk) and the image did not come from elsewhere meanwhile (the witness' bitmap is there).
 */
function trackedDisk(
  tracking: DiskTracking,
  atHead: PointDisk,
  { head, owed }: StandingInput,
): TrackedDisk | null {
  const kept = keptOf(tracking);
  const smallestBytes = owed?.smallestSizeBytes.get(atHead.name) ?? null;
  const disk = {
    state: "tracked" as const,
    name: atHead.name,
    identity: atHead.identity,
    previousSizeBytes: atHead.sizeBytes,
  };
  const headId = head?.id ?? null;
  const isHeadNewest = owed === null || owed.witness === headId;
  if (isHeadNewest && headId !== null && kept.includes(headId)) {
    return { ...disk, since: headId, countedSizeBytes: atHead.sizeBytes };
  }
  if (owed === null || smallestBytes === null) return null;
  if (!kept.includes(owed.since) || !kept.includes(owed.witness)) return null;
  const countedSizeBytes = Math.min(atHead.sizeBytes, smallestBytes);
  return { ...disk, since: owed.since, countedSizeBytes };
}

function keptOf(tracking: DiskTracking): readonly PointId[] {
  return tracking.state === "tracked" ? tracking.kept : [];
}

function causeOf(
  tracking: DiskTracking,
  isRecording: boolean,
  causes: ReadonlyMap<DiskName, string>,
): string {
  if (isRecording) return causes.get(tracking.disk.name) ?? "A sync that was interrupted went on.";
  if (tracking.state === "untracked") return tracking.cause;
  return "Its bitmap is named after a point that the vault does not hold for it.";
}

function noteOf(disk: DiskStanding, head: Point | null): readonly string[] {
  if (disk.state === "tracked" || head === null) return [];
  if (disk.kind === "base") return [`${disk.name} was added to the group.`];
  return [`${disk.name} was resynced by hash. ${disk.cause}`];
}

/** Why disks are being read whole, by name. */
export function syncCauses(standing: GroupStanding | null): ReadonlyMap<DiskName, string> {
  const syncing = (standing?.disks ?? []).filter((disk) => disk.state === "syncing");
  return new Map(syncing.map((disk) => [disk.name, disk.cause]));
}

/** Whether every disk has been read whole, so that a point can be cut. */
export function isReadyToCut(standing: GroupStanding): boolean {
  return standing.disks.every(
    (disk) =>
      disk.state === "tracked" || (disk.isRecording && disk.resumeAtBytes === disk.sizeBytes),
  );
}

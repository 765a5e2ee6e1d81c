import type { DiskIdentity, DiskName, PointId } from "../core/ids.ts";
import type { StagedStatus } from "../core/journal.ts";
import type { Point } from "../core/point.ts";
import type { DiskTracking } from "../core/source.ts";

/** A disk whose changes since the head are recorded: the next cycle reads only these. */
export interface TrackedDisk {
  readonly state: "tracked";
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  readonly since: PointId;
  readonly previousSizeBytes: number;
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
  /** The vault's head when this was decided; null before the first point. */
  readonly headId: PointId | null;
  /** Sorted by name. */
  readonly disks: readonly DiskStanding[];
  /** What the next point has to say about the way here, one sentence each. */
  readonly notes: readonly string[];
}

/** What vault and source know. */
export interface StandingInput {
  readonly head: Point | null;
  readonly staged: readonly StagedStatus[];
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
  if (tracking.state === "tracked" && atHead !== null && tracking.since === input.head?.id) {
    const { identity, sizeBytes: previousSizeBytes } = atHead;
    const disk: TrackedDisk = {
      state: "tracked",
      name,
      identity,
      since: tracking.since,
      previousSizeBytes,
    };
    return { disk, continued: null };
  }
  const kind = atHead === null ? "base" : "parts";
  // Parts of another size are not gone on with: that a disk changed its size within a sync is too rare to be clever about.
  const found = input.staged.find(
    (staged) =>
      staged.disk === name &&
      staged.kind === kind &&
      staged.sizeBytes === sizeBytes &&
      (atHead === null || staged.identity === atHead.identity),
  );
  const isRecording =
    found !== undefined && tracking.state === "tracked" && tracking.since === found.syncId;
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

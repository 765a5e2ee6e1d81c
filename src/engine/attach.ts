import type { Prng } from "../base/prng.ts";
import { drawDiskIdentity, drawPointId, type PointId } from "../core/ids.ts";
import type { IntakeStanding, JournalIntake, StagedStatus } from "../core/journal.ts";
import type { Source } from "../core/source.ts";
import type { CycleGroup } from "./cycle.ts";
import { decideGeneration } from "./generation.ts";
import { isLinkFault } from "./link-faults.ts";
import { decideStanding, type GroupStanding, syncCauses } from "./standing.ts";

/** What an attach found out. */
export interface Attachment {
  readonly standing: GroupStanding;
  /** What the source found of an earlier life of ours and removed, one sentence each. */
  readonly removed: readonly string[];
  /** The point whose bitmaps were kept besides the head's, for what waits in a spool; null when none were. */
  readonly owedSince: PointId | null;
}

/**
 * Finds out where the group stands, at the start and after every fault: the vault is asked for its head first, a bitmap of
 * that name is right, those of what waits in a spool and of a sync under way go on, every other of ours is removed.
 * GENERATION_STALE and GENERATION_CONFLICT before anything is done to the source.
 */
export async function attach(options: {
  source: Source;
  journal: JournalIntake;
  group: CycleGroup;
  prng: Prng;
  signal: AbortSignal;
  /** How the group stood before the fault, if this process knows. */
  previous?: GroupStanding | null;
}): Promise<Attachment> {
  const { source, journal, group, prng, signal } = options;
  const previous = options.previous ?? null;
  const asked = await journal.ask();
  const { head, staged, owed } = asked;
  const generation = decideGeneration({
    group: group.name,
    holder: group.holder,
    current: asked.generation,
    heldNumber: previous?.generation.number ?? heldNumber(asked, group.holder),
  });
  const repair = await source.repair({ keep: bitmapsToKeep(asked), signal });
  const { standing, stale } = decideStanding({
    head,
    staged,
    owed,
    generation,
    tracking: repair.disks,
    newSyncId: drawPointId(prng),
    drawIdentity: () => drawDiskIdentity(prng),
    causes: syncCauses(previous),
  });
  for (const parts of stale) await discard(journal, parts);
  return { standing, removed: repair.removed, owedSince: owed?.since ?? null };
}

/** The points and syncs whose bitmaps are of use. The head comes first: of a disk that has several, its is the newest. */
export function bitmapsToKeep({ head, staged, owed }: IntakeStanding): readonly PointId[] {
  const keep = [
    ...(head === null ? [] : [head.id]),
    ...(owed === null ? [] : [owed.since, owed.witness]),
    ...staged.map((status) => status.syncId),
  ];
  return [...new Set(keep)];
}

function heldNumber({ head }: IntakeStanding, holder: string): number | null {
  return head?.generation.holder === holder ? head.generation.number : null;
}

/** Parts that nothing continues can lie at the vault until it can be reached. */
async function discard(journal: JournalIntake, status: StagedStatus): Promise<void> {
  const { kind, disk, identity, sizeBytes, syncId } = status;
  try {
    await using parts = await journal.stage({ kind, disk, identity, sizeBytes, syncId });
    await parts.discard();
  } catch (error) {
    if (!isLinkFault(error)) throw error;
  }
}

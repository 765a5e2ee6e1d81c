import type { Prng } from "../base/prng.ts";
import { drawDiskIdentity, drawPointId } from "../core/ids.ts";
import type { Journal } from "../core/journal.ts";
import type { Source } from "../core/source.ts";
import { decideStanding, type GroupStanding, syncCauses } from "./standing.ts";

/** What an attach found out. */
export interface Attachment {
  readonly standing: GroupStanding;
  /** What the source found of an earlier life of ours and removed, one sentence each. */
  readonly removed: readonly string[];
}

/**
 * Finds out where the group stands, at the start and after every fault: the vault is asked for its head first, a bitmap of
 * that name is right, one of a sync under way goes on, every other of ours is removed.
 */
export async function attach(options: {
  source: Source;
  journal: Journal;
  prng: Prng;
  signal: AbortSignal;
  /** How the group stood before the fault, if this process knows. */
  previous?: GroupStanding | null;
}): Promise<Attachment> {
  const { source, journal, prng, signal } = options;
  const head = journal.head();
  const staged = await journal.staged();
  // The head comes first: a sync that the head's seal adopted may still have its bitmap, and the head's is the newer one.
  const keep = [...(head === null ? [] : [head.id]), ...staged.map((status) => status.syncId)];
  const repair = await source.repair({ keep, signal });
  const { standing, stale } = decideStanding({
    head,
    staged,
    tracking: repair.disks,
    newSyncId: drawPointId(prng),
    drawIdentity: () => drawDiskIdentity(prng),
    causes: syncCauses(options.previous ?? null),
  });
  for (const { resumeAtBytes: _, ...request } of stale) {
    await using parts = await journal.stage(request);
    await parts.discard();
  }
  return { standing, removed: repair.removed };
}

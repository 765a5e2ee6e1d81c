import { Fault } from "../base/fault.ts";
import type { PointId } from "../core/ids.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import type { Group } from "./group.ts";
import { type LedgerPoint, named } from "./group-state.ts";

/** Points that one record can name. */
const pointsAtOnce = 65_536;

/** Rejects with POINT_PINNED when somebody reads a point for which `isGoing` holds. */
export async function checkPins(
  group: Group,
  isGoing: (sequence: number) => boolean,
): Promise<void> {
  const sequence = (await group.pinnedSequences()).find(isGoing);
  if (sequence === undefined) return;
  const message = `${group.name}: point #${sequence} is being read`;
  throw new Fault("POINT_PINNED", message, { group: group.name, sequence });
}

/**
 * Enters that points cannot be opened any more. None are no record. What they took over from a sync is released before: that a point
 * was sealed is not remembered for ever once it is retired.
 */
export async function retirePoints(
  journal: DirectoryJournal,
  points: readonly LedgerPoint[],
  reason: string,
): Promise<void> {
  const { group, staging } = journal;
  if (points.length === 0) return;
  const ids = new Set(points.map((point) => point.facts.id));
  // Only of these: what a seal takes over just now it releases itself.
  const isGoing = { find: (id: PointId) => (ids.has(id) ? { point: null } : null) };
  group.notes.push(...(await staging.releaseUsed(isGoing)));
  for (let start = 0; start < points.length; start += pointsAtOnce) {
    const going = points.slice(start, start + pointsAtOnce);
    const entry: LedgerEntry = {
      kind: "points-retired",
      body: {
        points: going.map(({ facts, contentRoot }) => named({ ...facts, contentRoot })),
        reason,
      },
    };
    await journal.enter(entry);
  }
}

import type { Clock } from "../base/clock.ts";
import type { PointId } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import { moveBase } from "../journal/move-base.ts";
import { scrub } from "../journal/scrub.ts";
import { thin } from "../journal/thin.ts";
import { checkResultOf } from "./check-result.ts";
import type { GroupRequest } from "./requests.ts";
import type { ReportProgress } from "./server.ts";

/** A request that changes a group's history. */
export type ChangeRequest = GroupRequest;

/** How a change is watched and stopped. */
export interface ChangeOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: ReportProgress;
}

/**
 * Changes a group's history. The caller holds the vault's writer lock and lets one change run at a time; only a scrub may run
 * beside others.
 */
export async function performChange(
  journal: DirectoryJournal,
  request: ChangeRequest,
  options: ChangeOptions,
): Promise<unknown> {
  switch (request.verb) {
    case "record-verified":
      return recordVerified(journal, request.points, options);
    case "thin":
      return thin(journal, {
        keep: pointsWithout(journal, request.retire),
        signal: options.signal,
        onProgress: ({ done, total }) => options.onProgress?.(done, total),
      });
    case "scrub": {
      const { rateBytesPerSecond } = request;
      const report = await scrub(journal, options.clock, {
        signal: options.signal,
        rateBytesPerSecond,
        onProgress: ({ doneBytes, totalBytes }) => options.onProgress?.(doneBytes, totalBytes),
      });
      return checkResultOf(report);
    }
    case "raise": {
      const { holder, reason } = request;
      return journal.raiseGeneration({ holder, reason });
    }
    case "move-base":
      return moveBase(journal, {
        to: request.point,
        signal: options.signal,
        onProgress: ({ doneBytes }) => options.onProgress?.(doneBytes, null),
      });
  }
}

function pointsWithout(journal: DirectoryJournal, retire: readonly PointId[]): readonly PointId[] {
  const going = new Set(retire);
  const ids = journal.points().map((point) => point.id);
  return ids.filter((id) => !going.has(id));
}

/** Points that were retired while they were being hashed are left out. */
async function recordVerified(
  journal: DirectoryJournal,
  ids: readonly PointId[],
  { signal }: ChangeOptions,
): Promise<{ readonly recorded: number }> {
  const open = new Map<PointId, Point>(journal.points().map((point) => [point.id, point]));
  let recorded = 0;
  for (const id of ids) {
    const point = open.get(id);
    if (point === undefined) continue;
    signal.throwIfAborted();
    await journal.recordVerified(point);
    recorded += 1;
  }
  return { recorded };
}

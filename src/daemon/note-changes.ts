import type { GroupName } from "../core/ids.ts";
import type { IntervalChange } from "../engine/pace-interval.ts";
import type { ReadsOutlook } from "../engine/pace-reads.ts";
import type { EventLog } from "./event-log.ts";

/** Tells why a group's interval is another, what is expected of it, and what came of the one before. */
export function noteInterval(log: EventLog, group: GroupName, change: IntervalChange): void {
  const { intervalSeconds, reason, predictedRpoSeconds, before } = change;
  const facts = {
    ...{ group, intervalSeconds, reason, predictedRpoSeconds },
    // Of the interval before; nothing is known of one that no point ended in.
    ...(before.points === 0
      ? {}
      : { realisedRpoSeconds: before.worstRpoSeconds, realisedPoints: before.points }),
  };
  if (change.isHeld) {
    log.note("info", "The interval was chosen anew.", facts);
    return;
  }
  const { attainableRpoSeconds } = change;
  log.note("warn", "No interval holds the target.", { ...facts, attainableRpoSeconds });
}

/** Tells that reading is held back for the guests' sake, or no more. */
export function noteReads(log: EventLog, group: GroupName, outlook: ReadsOutlook): void {
  const { heldToBytesPerSecond, latencyMs, baselineMs } = outlook;
  const facts = { group, heldToBytesPerSecond, latencyMs, baselineMs };
  if (heldToBytesPerSecond === null) log.note("info", "Reading is not held back any more.", facts);
  else log.note("warn", "Guests' writes are slow, so reading is held back.", facts);
}

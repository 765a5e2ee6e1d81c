import { formatBytes, formatSeconds } from "../base/units.ts";
import type { CycleReport } from "../engine/cycle-report.ts";
import type { EngineEvent } from "../engine/events.ts";
import { describeFault } from "./group-writer.ts";

/** An event that is told in lines; progress of a sync is drawn. */
export type LineEvent = Exclude<EngineEvent, { readonly type: "sync" }>;

/** What a person who watches reads of an event; nothing where it would be noise. */
export function linesOf(event: LineEvent): readonly string[] {
  switch (event.type) {
    case "state":
      return event.state === "stopped" || event.state === "stopping" ? [] : [event.state];
    case "attached":
      return [
        ...event.removed,
        ...event.disks.flatMap(({ name, cause }) => (cause === null ? [] : [`${name}: ${cause}`])),
      ];
    case "cycle":
      return [describeCycle(event.report), ...event.report.point.notes];
    case "late":
      return [`a cycle took longer than the interval; ${event.skipped} starts were left out`];
    case "current":
    case "interval": // Told with what is expected of it and what came of the one before.
    case "spool":
      return [];
    case "diverted":
      return [`${describeFault(event.fault)}; the point is read again into the spool`];
    case "sync-window":
      return [
        event.closedUntilMs === null
          ? "the window is open: reading goes on"
          : `reading a disk whole waits until ${new Date(event.closedUntilMs).toISOString()}`,
      ];
    case "clock-skew": {
      const { offsetMs, errorMs, offsetMaxMs } = event;
      const differ = `the vault's clock is ${offsetMs} ms (± ${errorMs} ms) from ours`;
      return [event.isWithinBound ? differ : `CLOCK_SKEW: ${differ}, at most ${offsetMaxMs} ms`];
    }
    case "stale": {
      const { paused } = event;
      const did = paused.length === 0 ? "" : `; paused: ${paused.join(", ")}`;
      return [`${describeFault(event.fault)}${did}`];
    }
    case "retrying": {
      const { fault, attempt, delaySeconds } = event;
      const again = `attempt ${attempt + 1} in ${formatSeconds(delaySeconds)}`;
      return [`${describeFault(fault)} (${again})`];
    }
    case "route":
      return [
        `points go ${event.route === "spool" ? "into the spool" : "direct"}: ${event.reason}`,
      ];
    case "hole": {
      const { points, fromSequence, toSequence, reason } = event;
      return [
        `${points} points (#${fromSequence} to #${toSequence}) were lost from the spool: ${reason}`,
      ];
    }
    case "shipped": {
      const { sequence, bytes, rpoSeconds } = event;
      return [`shipped #${sequence}: ${formatBytes(bytes)}, RPO ${formatSeconds(rpoSeconds)}`];
    }
    case "shipping-delayed":
      return [`${describeFault(event.fault)} (again in ${formatSeconds(event.delaySeconds)})`];
    case "spool-full":
    case "shipping-stopped":
    case "spool-state-behind":
    case "maintenance-failed":
      return [describeFault(event.fault)];
  }
}

function describeCycle(report: CycleReport): string {
  const { point, via, dirtyBytes, readBytes, storedBytes, rpoSeconds, durationSeconds } = report;
  const bytes = `${formatBytes(dirtyBytes)} changed, ${formatBytes(readBytes)} read, ${formatBytes(storedBytes)} stored`;
  const times = `RPO ${formatSeconds(rpoSeconds)}, took ${formatSeconds(durationSeconds)}`;
  const what = via === "spool" ? "spooled" : "sealed";
  return `${what} #${point.sequence}: ${bytes}, ${times}`;
}

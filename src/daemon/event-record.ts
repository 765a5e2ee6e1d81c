import type { Fault } from "../base/fault.ts";
import type { CycleReport } from "../engine/cycle-report.ts";
import type { EngineEvent } from "../engine/events.ts";

/** A line of the structured log: error = someone must act, warn = points get older, info = one line per cycle. */
export interface LogRecord {
  readonly level: "debug" | "info" | "warn" | "error";
  /** A constant sentence; what varies is in `facts`. */
  readonly message: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** What the structured log says of an event; the group is added to the facts. */
export function recordOf(event: EngineEvent): LogRecord {
  const { level, message, facts } = ownRecordOf(event);
  return { level, message, facts: { group: event.group, ...facts } };
}

function ownRecordOf(event: EngineEvent): LogRecord {
  switch (event.type) {
    case "cycle":
      return info("A point was sealed.", cycleFacts(event.report));
    case "state":
      return info("The group's state changed.", { state: event.state });
    case "attached":
      return info("The group's disks were found.", { disks: event.disks, removed: event.removed });
    case "sync":
      return {
        level: "debug",
        message: "A disk is being read whole.",
        facts: { ...event.progress },
      };
    case "late":
      return warn("A cycle took longer than the interval.", { skipped: event.skipped });
    case "current":
      return {
        level: "debug",
        message: "Nothing had changed, so no point was cut.",
        facts: { point: event.point, atMs: event.atMs },
      };
    case "interval":
      return {
        level: "debug",
        message: "The interval changed.",
        facts: { waitSeconds: event.waitSeconds, reason: event.reason },
      };
    case "diverted":
      return warn("A point is read again into the spool.", faultFacts(event.fault));
    case "sync-window":
      return info(
        event.closedUntilMs === null
          ? "A disk is read whole again."
          : "Reading a disk whole waits for its window.",
        { closedUntilMs: event.closedUntilMs },
      );
    case "clock-skew": {
      const { isWithinBound, offsetMs, errorMs, offsetMaxMs } = event;
      const facts = { offsetMs, errorMs, offsetMaxMs };
      if (isWithinBound) return info("The two sites' clocks are within their bound again.", facts);
      return { level: "error", message: "The two sites' clocks differ too much.", facts };
    }
    case "stale":
      return {
        level: "error",
        message: "Another holds the group.",
        facts: { ...faultFacts(event.fault), paused: event.paused },
      };
    case "retrying": {
      const { fault, attempt, delaySeconds, lagSeconds } = event;
      const facts = { ...faultFacts(fault), attempt, delaySeconds, lagSeconds };
      return warn("A fault is borne; the next attempt follows.", facts);
    }
    case "maintenance-failed":
      return warn("Work behind the cycles failed.", faultFacts(event.fault));
    default:
      return spoolRecordOf(event);
  }
}

type SpoolEvent = Extract<
  EngineEvent,
  {
    readonly type:
      | "spool"
      | "route"
      | "spool-full"
      | "hole"
      | "shipped"
      | "shipping-delayed"
      | "shipping-stopped"
      | "spool-state-behind";
  }
>;

function spoolRecordOf(event: SpoolEvent): LogRecord {
  switch (event.type) {
    case "spool":
      return {
        level: "debug",
        message: "What waits in the spool changed.",
        facts: { ...event.status },
      };
    case "route":
      return info("Points go another way.", { route: event.route, reason: event.reason });
    case "spool-full":
      return {
        level: "error",
        message: "The spool is full, so no points are cut; changes go on being recorded.",
        facts: faultFacts(event.fault),
      };
    case "hole": {
      const { points, fromSequence, toSequence, reason } = event;
      const message = "Points were lost from the spool; history has a hole and data has none.";
      return warn(message, { points, fromSequence, toSequence, reason });
    }
    case "shipped": {
      const { point, sequence, bytes, durationSeconds, rpoSeconds, lagSeconds } = event;
      const facts = { point: { id: point, sequence }, bytes, durationSeconds, rpoSeconds };
      return info("A point that had waited is at the vault.", { ...facts, lagSeconds });
    }
    case "shipping-delayed":
      return warn("Shipping failed and is tried again.", {
        ...faultFacts(event.fault),
        delaySeconds: event.delaySeconds,
      });
    case "shipping-stopped":
      return {
        level: "error",
        message: "Shipping stopped and needs a person.",
        facts: faultFacts(event.fault),
      };
    case "spool-state-behind":
      return warn("What the spool knows could not be written down.", faultFacts(event.fault));
  }
}

function info(message: string, facts: LogRecord["facts"]): LogRecord {
  return { level: "info", message, facts };
}

function warn(message: string, facts: LogRecord["facts"]): LogRecord {
  return { level: "warn", message, facts };
}

/** A fault as fields. */
export function faultFacts({ code, message, nextStep, details }: Fault) {
  return { code, cause: message, nextStep, details };
}

function cycleFacts({ point, ...report }: CycleReport) {
  const { id, sequence, consistency, notes } = point;
  return { point: { id, sequence, reached: consistency.reached, notes }, ...report };
}

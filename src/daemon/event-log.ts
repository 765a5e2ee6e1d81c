import { pino } from "pino";
import type { Clock } from "../base/clock.ts";
import { formatBytes, formatSeconds } from "../base/units.ts";
import { startProgress } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import type { CycleReport } from "../engine/cycle-report.ts";
import type { EngineEvent } from "../engine/events.ts";

/** Where a running process tells what happens. */
export interface EventLog {
  event(event: EngineEvent): void;
  /** What is no event of the engine; `message` is a constant sentence, what varies is in `facts`. */
  note(
    level: "info" | "warn" | "error",
    message: string,
    facts: Readonly<Record<string, unknown>>,
  ): void;
}

/** One JSON object a line (pino): level error = someone must act, warn = points get older, info = one line per cycle. */
export function jsonEventLog(terminal: Terminal): EventLog {
  const logger = pino(
    { base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line) => terminal.err(line) },
  );
  return {
    note: (level, message, facts) => logger[level](facts, message),
    event: (event) => {
      const { group } = event;
      switch (event.type) {
        case "cycle":
          return logger.info({ group, ...cycleFacts(event.report) }, "A point was sealed.");
        case "state":
          return logger.info({ group, state: event.state }, "The group's state changed.");
        case "attached":
          return logger.info(
            { group, disks: event.disks, removed: event.removed },
            "The group's disks were found.",
          );
        case "sync":
          return logger.debug({ group, ...event.progress }, "A disk is being read whole.");
        case "late":
          return logger.warn(
            { group, skipped: event.skipped },
            "A cycle took longer than the interval.",
          );
        case "retrying": {
          const { fault, attempt, delaySeconds, lagSeconds } = event;
          const facts = { group, code: fault.code, cause: fault.message, details: fault.details };
          const message = "A fault is borne; the next attempt follows.";
          return logger.warn({ ...facts, attempt, delaySeconds, lagSeconds }, message);
        }
        case "maintenance-failed": {
          const { code, message: cause, details } = event.fault;
          return logger.warn({ group, code, cause, details }, "Work behind the cycles failed.");
        }
      }
    },
  };
}

/** A line for people for what matters, and progress while disks are read whole. */
export function textEventLog(terminal: Terminal, clock: Clock): EventLog {
  let syncing: { disk: string; progress: ReturnType<typeof startProgress> } | null = null;
  const say = (text: string) => {
    syncing?.progress[Symbol.dispose]();
    syncing = null;
    const time = new Date(clock.nowMs()).toISOString().slice(11, 19);
    terminal.err(`${time} ${text}\n`);
  };
  return {
    note: (level, message, facts) => {
      const details = Object.entries(facts).map(([key, value]) => `${key} ${format(value)}`);
      const mark = level === "info" ? "" : `${level}: `;
      say(`${mark}${message}${details.length > 0 ? ` (${details.join(", ")})` : ""}`);
    },
    event: (event) => {
      if (event.type !== "sync") {
        for (const line of linesOf(event)) say(`${event.group} ${line}`);
        return;
      }
      const { disk, kind, doneBytes, sizeBytes } = event.progress;
      if (syncing?.disk !== disk) {
        say(`${event.group} ${kind === "base" ? "initial sync" : "resync"} of ${disk}`);
        syncing = { disk, progress: startProgress(terminal, clock) };
        if (terminal.isErrorInteractive) syncing.progress.step(disk);
      }
      syncing.progress.update({ done: doneBytes, total: sizeBytes, unit: "bytes" });
    },
  };
}

type LineEvent = Exclude<EngineEvent, { readonly type: "sync" }>;

function linesOf(event: LineEvent): readonly string[] {
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
    case "retrying": {
      const { fault, attempt, delaySeconds } = event;
      const again = `attempt ${attempt + 1} in ${formatSeconds(delaySeconds)}`;
      return [`${fault.code}: ${fault.message} — ${fault.nextStep} (${again})`];
    }
    case "maintenance-failed":
      return [`${event.fault.code}: ${event.fault.message} — ${event.fault.nextStep}`];
  }
}

function describeCycle(report: CycleReport): string {
  const { point, dirtyBytes, readBytes, storedBytes, rpoSeconds, durationSeconds } = report;
  const bytes = `${formatBytes(dirtyBytes)} changed, ${formatBytes(readBytes)} read, ${formatBytes(storedBytes)} stored`;
  const times = `RPO ${formatSeconds(rpoSeconds)}, took ${formatSeconds(durationSeconds)}`;
  return `sealed #${point.sequence}: ${bytes}, ${times}`;
}

function cycleFacts({ point, ...report }: CycleReport) {
  const { id, sequence, consistency, notes } = point;
  return { point: { id, sequence, reached: consistency.reached, notes }, ...report };
}

function format(value: unknown): string {
  return typeof value === "string" || typeof value === "number"
    ? String(value)
    : JSON.stringify(value);
}

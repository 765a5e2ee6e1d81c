import { pino } from "pino";
import type { Clock } from "../base/clock.ts";
import { startProgress } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import type { EngineEvent } from "../engine/events.ts";
import { linesOf } from "./event-lines.ts";
import { recordOf } from "./event-record.ts";

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
      const { level, message, facts } = recordOf(event);
      logger[level](facts, message);
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
      const details = Object.entries(facts)
        .filter(([, value]) => !isEmpty(value))
        .map(([key, value]) => `${key} ${format(value)}`);
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

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Numbers to a thousandth: they are read, not reckoned with. */
function format(value: unknown): string {
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  return typeof value === "string" ? value : JSON.stringify(value);
}

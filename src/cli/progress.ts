import type { Clock } from "../base/clock.ts";
import { formatBytes, formatSeconds } from "../base/units.ts";
import type { Terminal } from "./terminal.ts";

/** Anything shorter needs no progress. */
const quietMs = 2000;
const redrawEveryMs = 100;
const lineEveryMs = 10_000;
const barLength = 24;

/** How far something is; `total` null while it is not known. */
export interface ProgressState {
  readonly done: number;
  readonly total: number | null;
  readonly unit: "bytes" | "items";
}

/** Tells a person on stderr how far a command is. Disposing clears the line. */
export interface Progress extends Disposable {
  /** Begins a step, "exporting erp/data". */
  step(name: string): void;
  update(state: ProgressState): void;
}

/** On a terminal one line that is drawn again; otherwise a line for each step, and now and then one within it. */
export function startProgress(terminal: Terminal, clock: Clock): Progress {
  const startedAtMs = clock.monotonicMs();
  let step = "";
  let stepAtMs = startedAtMs;
  let saidAtMs = Number.NEGATIVE_INFINITY;
  let isDrawn = false;
  const say = (text: string, nowMs: number) => {
    saidAtMs = nowMs;
    if (terminal.isErrorInteractive) {
      isDrawn = true;
      terminal.err(`\r\x1b[K${text}`);
    } else {
      terminal.err(`${text}\n`);
    }
  };
  return {
    step: (name) => {
      const nowMs = clock.monotonicMs();
      step = name;
      stepAtMs = nowMs;
      if (nowMs - startedAtMs >= quietMs || !terminal.isErrorInteractive) say(name, nowMs);
    },
    update: (state) => {
      const nowMs = clock.monotonicMs();
      const everyMs = terminal.isErrorInteractive ? redrawEveryMs : lineEveryMs;
      if (nowMs - startedAtMs < quietMs || nowMs - saidAtMs < everyMs) return;
      say(`${step} ${describe(state, (nowMs - stepAtMs) / 1000)}`, nowMs);
    },
    [Symbol.dispose]: () => {
      if (isDrawn) terminal.err("\r\x1b[K");
    },
  };
}

function describe({ done, total, unit }: ProgressState, seconds: number): string {
  const count = (value: number) => (unit === "bytes" ? formatBytes(value) : String(value));
  if (total === null || total === 0) return count(done);
  const share = Math.min(1, done / total);
  const filled = Math.round(share * barLength);
  const bar = "#".repeat(filled).padEnd(barLength, ".");
  const left = done === 0 ? "" : `, ${formatSeconds((seconds * (total - done)) / done)} left`;
  return `[${bar}] ${Math.floor(share * 100)} %, ${count(done)} of ${count(total)}${left}`;
}

import type { Clock } from "../src/base/clock.ts";
import { formatSeconds } from "../src/base/units.ts";

const redrawEveryMs = 250;
const columnsDefault = 80;

/** Tells a person on stderr what happens now: one live line on a terminal, otherwise one line for each step. */
export interface Stage extends Disposable {
  /** Begins a step; the one before it is done. */
  step(name: string): void;
  /** What is to be seen of the step right now. */
  detail(text: string): void;
  /** The play is over: the last step is done, or was where it failed. */
  end(how: "done" | "failed"): void;
}

/** A stage on the process's stderr. */
export function terminalStage(clock: Clock, stream: NodeJS.WriteStream): Stage {
  const startedAtMs = clock.monotonicMs();
  let step: { name: string; atMs: number } | null = null;
  let detail = "";
  const stopped = new AbortController();
  const sinceMs = (atMs: number) => formatSeconds((clock.monotonicMs() - atMs) / 1000);
  const line = (mark: string, known: { name: string; atMs: number }) => {
    const total = ((clock.monotonicMs() - startedAtMs) / 1000).toFixed(0).padStart(3);
    const tail = detail === "" ? "" : ` · ${detail}`;
    return `${mark} ${total} s  ${known.name} (${sinceMs(known.atMs)})${tail}`;
  };
  const draw = () => {
    if (step === null) return;
    // A line that wraps could not be drawn over. Terminals that do not tell their width say 0.
    const width = (stream.columns || columnsDefault) - 1;
    stream.write(`\r\x1b[K${line("…", step).slice(0, width)}`);
  };
  const finish = (mark: string) => {
    if (step === null) return;
    stream.write(`${stream.isTTY ? "\r\x1b[K" : ""}${line(mark, step)}\n`);
    step = null;
    detail = "";
  };
  const redraw = async () => {
    while (!stopped.signal.aborted) {
      draw();
      await clock.sleep(redrawEveryMs, { signal: stopped.signal });
    }
  };
  if (stream.isTTY) redraw().catch(() => {}); // Rejects when it is stopped.
  return {
    step(name) {
      finish("✓");
      step = { name, atMs: clock.monotonicMs() };
      if (stream.isTTY) draw();
    },
    detail(text) {
      detail = text;
      if (stream.isTTY) draw();
    },
    end(how) {
      finish(how === "done" ? "✓" : "✗");
      stopped.abort();
    },
    [Symbol.dispose]() {
      finish("✗");
      stopped.abort();
    },
  };
}

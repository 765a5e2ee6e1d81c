import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { KIB } from "../base/units.ts";

/** A console line longer than this is cut there. */
export const consoleLineLengthMax = 4 * KIB;
/** Lines kept for excerpts and for who starts to wait late. */
export const consoleLinesMax = 4096;
const excerptLinesMax = 20;

/** One line of a serial console. */
export interface ConsoleLine {
  readonly text: string;
  /** When we had it, on our wall clock. */
  readonly atMs: number;
}

/** What a machine says on its serial line, and a way to answer. */
export interface MachineConsole {
  /** Calls `listener` for each line from now on. */
  onLine(listener: (line: ConsoleLine) => void): Disposable;
  /**
   * The first line, of those kept and those to come, that matches. GUEST_FAILED with an excerpt when the machine ends or
   * `timeoutMs` passes before; ABORTED is the signal's reason.
   */
  waitForLine(
    pattern: RegExp,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<ConsoleLine>;
  /** Types one line. */
  type(text: string): void;
  /** The last lines, for messages. */
  excerpt(): string;
}

/** A console fed by its owner: `push` what the machine wrote, `end` when it will write no more. */
export interface FedConsole extends MachineConsole {
  push(bytes: Buffer): void;
  end(reason: string): void;
}

/** A console without a machine: whatever feeds it calls `push` and `end`. */
export function fedConsole(options: {
  readonly machine: string;
  readonly clock: Clock;
  readonly onType: (text: string) => void;
}): FedConsole {
  const lines: ConsoleLine[] = [];
  const listeners = new Set<(line: ConsoleLine) => void>();
  const onEnd = new Set<(reason: string) => void>();
  let unfinished = "";
  let ended: string | null = null;

  const excerpt = () =>
    [...lines.map((line) => line.text), unfinished]
      .filter((text) => text !== "")
      .slice(-excerptLinesMax)
      .join("\n");
  const add = (text: string): void => {
    const line = { text: text.replace(/\r+$/, ""), atMs: options.clock.nowMs() };
    lines.push(line);
    if (lines.length > consoleLinesMax) lines.splice(0, consoleLinesMax / 4);
    for (const listener of [...listeners]) listener(line);
  };
  const failed = (why: string): Fault =>
    new Fault("GUEST_FAILED", `${options.machine}: ${why}; its console ends with:\n${excerpt()}`, {
      machine: options.machine,
    });

  return {
    push(bytes) {
      const parts = (unfinished + bytes.toString("latin1")).split("\n");
      unfinished = (parts.pop() ?? "").slice(0, consoleLineLengthMax);
      for (const part of parts) add(part.slice(0, consoleLineLengthMax));
    },
    end(reason) {
      ended = reason;
      for (const tell of [...onEnd]) tell(reason);
    },
    onLine(listener) {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
    async waitForLine(pattern, { timeoutMs, signal }) {
      signal?.throwIfAborted();
      const kept = lines.find((line) => pattern.test(line.text));
      if (kept) return kept;
      if (ended !== null) throw failed(ended);
      const { promise, resolve, reject } = Promise.withResolvers<ConsoleLine>();
      const giveUp = new AbortController();
      const onLine = (line: ConsoleLine) => (pattern.test(line.text) ? resolve(line) : undefined);
      const onEnded = (reason: string) => reject(failed(reason));
      const onAbort = () => reject(signal?.reason);
      listeners.add(onLine);
      onEnd.add(onEnded);
      signal?.addEventListener("abort", onAbort, { once: true });
      options.clock.sleep(timeoutMs, { signal: giveUp.signal }).then(
        () => reject(failed(`no line like ${pattern} within ${timeoutMs} ms`)),
        () => {}, // The line came first.
      );
      try {
        return await promise;
      } finally {
        giveUp.abort();
        signal?.removeEventListener("abort", onAbort);
        listeners.delete(onLine);
        onEnd.delete(onEnded);
      }
    },
    type: (text) => options.onType(`${text}\n`),
    excerpt,
  };
}

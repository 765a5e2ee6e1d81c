import type { Clock } from "../base/clock.ts";
import type { EventLog } from "./event-log.ts";

/** A clean stop takes as long as one answer of a machine or of the vault; what is still there after this hangs. */
const stopMsMax = 30_000;

/** Does the work, and ends the process with exit code 2 when a stop was asked for and does not come to its end. */
export async function withinStopBound<Result>(
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly log: Pick<EventLog, "note">;
    /** For tests. */
    readonly exit?: (code: number) => void;
  },
  work: () => Promise<Result>,
): Promise<Result> {
  const { clock, signal, log, exit = (code: number) => process.exit(code) } = options;
  const done = new AbortController();
  const onAbort = () => {
    clock.sleep(stopMsMax, { signal: done.signal }).then(
      () => {
        const facts = { stopSecondsMax: stopMsMax / 1000 };
        log.note("error", "The stop did not come to its end; nothing sealed is lost.", facts);
        exit(2);
      },
      () => {}, // It ended in time.
    );
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await work();
  } finally {
    done.abort();
    signal.removeEventListener("abort", onAbort);
  }
}

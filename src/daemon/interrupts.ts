import { interruptedFault } from "../cli/interruption.ts";
import { isReloading } from "./reload-requests.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Aborts at the first interruption of this process; a second one ends it at once with exit code 2. SIGHUP may mean to reload. */
export function interruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  for (const name of signals) {
    process.on(name, () => {
      if (name === "SIGHUP" && isReloading()) return;
      if (interrupted.signal.aborted) process.exit(2);
      interrupted.abort(interruptedFault());
    });
  }
  return interrupted.signal;
}

import { Fault } from "../base/fault.ts";

/** Resolves when the signal aborts: how verbs that serve until they are interrupted wait. */
export async function interruption(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}

/** What the signal of a command aborts with. */
export function interruptedFault(): Fault {
  return new Fault("ABORTED", "interrupted");
}

import { Fault, isFault } from "../base/fault.ts";

/** The Fault that an aborted signal stands for: its reason when that is one, else ABORTED. */
export function abortFault(signal: AbortSignal, what: string): Fault {
  if (isFault(signal.reason)) return signal.reason;
  return new Fault("ABORTED", `${what} was stopped`, {}, { cause: signal.reason });
}

import { type Fault, faultWithin } from "../base/fault.ts";

/** The fault that an error is about, also when cleaning up after it failed too; null when it is a bug of ours. */
export function faultOf(error: unknown): Fault | null {
  for (let at: unknown = error; ; ) {
    if (!(at instanceof SuppressedError)) return faultWithin(at);
    at =
      faultWithin(at.suppressed) === null && !(at.suppressed instanceof SuppressedError)
        ? at.error
        : at.suppressed;
  }
}

import { type Fault, faultWithin } from "../base/fault.ts";

/** The fault that an error is about: what failed first, not what then failed in cleaning up. Null when it is a bug of ours. */
export function faultOf(error: unknown): Fault | null {
  let first: unknown = error;
  while (first instanceof SuppressedError) first = first.suppressed;
  return faultWithin(first);
}

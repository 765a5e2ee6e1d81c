import { Fault, isFault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import type { Generation } from "../core/point.ts";

/**
 * The generation that `holder` may write under, from what the vault says. Direction is never inferred: a group that another
 * holds is refused with GENERATION_STALE where we held a lower number before, else GENERATION_CONFLICT (details: holder, number).
 */
export function decideGeneration(options: {
  readonly group: GroupName;
  readonly holder: string;
  /** Whose the group is at the vault; null while nobody has written. */
  readonly current: Generation | null;
  /** The last number that we are known to have held; null for none. */
  readonly heldNumber: number | null;
}): Generation {
  const { group, holder, current, heldNumber } = options;
  if (current === null) return { number: 1, holder };
  if (current.holder === holder) return current;
  const details = { holder: current.holder, number: current.number };
  if (heldNumber !== null && heldNumber < current.number) {
    const message = `${group} was taken over: ${current.holder} holds generation ${current.number}, we held ${heldNumber}`;
    throw new Fault("GENERATION_STALE", message, details);
  }
  const message = `${group} is written by ${current.holder}, who holds generation ${current.number}`;
  throw new Fault("GENERATION_CONFLICT", message, details);
}

/**
 * Whether the group was handed to `holder` itself under a later number, as after a drill: attaching learns the number, and nobody
 * was overtaken.
 */
export function wasHandedBack(fault: Fault, holder: string): boolean {
  return (
    isFault(fault, "GENERATION_STALE", "GENERATION_CONFLICT") && fault.details.holder === holder
  );
}

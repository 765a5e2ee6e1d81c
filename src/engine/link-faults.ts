import { isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { faultOf } from "./fault-of.ts";

/** Faults of the way to the vault: they say nothing of the point, which another way may take. */
export const linkFaultCodes: readonly FaultCode[] = ["LINK_LOST", "LINK_STALLED", "LINK_RESET"];

/** Whether what failed first was the way to the vault. */
export function isLinkFault(error: unknown): boolean {
  return isFault(faultOf(error), ...linkFaultCodes);
}

/** Whether the vault cannot be reached, or has no room: a point may wait in a spool until somebody made some. */
export function isWayFault(error: unknown): boolean {
  return isFault(faultOf(error), ...linkFaultCodes, "STORAGE_FULL");
}

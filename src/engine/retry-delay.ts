import type { FaultCode } from "../base/fault-table.ts";
import type { Prng } from "../base/prng.ts";
import { linkFaultCodes } from "./link-faults.ts";

const retryDelayMinMs = 500;
const retryDelayMaxMs = 30_000;
/** Share by which a delay varies, so that groups that failed together do not return together. */
const jitterShare = 0.25;
/** What looking at source and vault again cures by itself. */
const curedByAttaching: readonly FaultCode[] = ["BITMAP_LOST", "SEAL_REFUSED"];
/** A full spool is asked again soon: that costs neither guest nor vault anything. */
const spoolFullDelayMaxMs = 5_000;
/** What only the vault can tell is asked for so often while it cannot be reached. */
export const waitForLinkMs = 1_000;

/** Whether a fault may pass; one that attaching has just failed to cure, `previous`, needs a person. */
export function isWorthRetrying(
  fault: { code: FaultCode; retry: boolean },
  previous: FaultCode | null,
): boolean {
  return fault.retry || (fault.code !== previous && curedByAttaching.includes(fault.code));
}

/** How long to wait before attempt number `attempt` (from 1): none where attaching cures, else doubling from 0.5 s to 30 s. */
export function retryDelayMs(code: FaultCode, attempt: number, prng: Prng): number {
  // A point whose link failed under it is followed at once by one that goes another way.
  if (attempt === 1 && [...curedByAttaching, ...linkFaultCodes].includes(code)) return 0;
  const delayMaxMs = code === "SPOOL_FULL" ? spoolFullDelayMaxMs : retryDelayMaxMs;
  const doubled = Math.min(delayMaxMs, retryDelayMinMs * 2 ** Math.min(attempt - 1, 16));
  const steps = 1000;
  const jitter = (prng.below(steps + 1) / steps) * 2 - 1;
  return doubled * (1 + jitterShare * jitter);
}

import type { LinkHealth } from "../../core/link.ts";
import type { PointOutlook, RoutePlan } from "../cycle-intake.ts";
import { directHoldMsMax } from "./direct-writer.ts";

/** What a way is chosen from. */
export interface RouteFacts extends PointOutlook {
  readonly health: LinkHealth;
  /** Points that wait in the spool. */
  readonly waiting: number;
  /** Whether a direct point was diverted since a point last went the other way. */
  readonly wasDiverted: boolean;
  /** How fast the source can be read. */
  readonly readBytesPerSecond: number;
}

/**
 * Direct when the link is up, the spool empty, and what is dirty is predicted to ship about as fast as it is read: the point in
 * time then lives at most `directHoldMsMax` longer than a local read. Pure.
 */
export function decideRoute(facts: RouteFacts): RoutePlan {
  const { health, waiting, dirtyBytes, failed } = facts;
  const spool = (reason: string): RoutePlan => ({ route: "spool", reason });
  if (failed !== null) return spool(`The direct way failed: ${failed.message}`);
  if (!health.isUp) return spool("The vault cannot be reached.");
  if (waiting > 0) return spool("Points that were cut before wait to be shipped.");
  if (facts.wasDiverted) return spool("The last point had to be diverted.");
  if (facts.adopts) return spool("The vault joins staged parts at its own time.");
  if (dirtyBytes !== null && health.bytesPerSecond !== null) {
    const shippingMs = (dirtyBytes / health.bytesPerSecond) * 1000;
    const readingMs = (dirtyBytes / facts.readBytesPerSecond) * 1000;
    if (shippingMs > readingMs + directHoldMsMax) {
      const seconds = (shippingMs / 1000).toFixed(1);
      return spool(
        `Shipping is predicted to take ${seconds} s, too long for a point in time to live.`,
      );
    }
  }
  return {
    route: "direct",
    reason: "The link is up and takes points about as fast as they are read.",
  };
}

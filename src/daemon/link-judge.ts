import { Fault } from "../base/fault.ts";
import { formatSeconds } from "../base/units.ts";
import type { LinkHealth } from "../core/link.ts";
import { judgeLink, type LinkDemand } from "../core/link-need.ts";

/** What is known of a group and its link. */
export interface JudgedLink {
  readonly health: Pick<LinkHealth, "isUp" | "roundTripMs" | "bytesPerSecond">;
  /** The cap in force; null when there is none. */
  readonly capBytesPerSecond: number | null;
  /** Null: no target, so nothing is needed. */
  readonly targetRpoSeconds: number | null;
  /** Unique bytes that change in so many seconds, as far as it was learned. */
  readonly uniqueBytesIn: (seconds: number) => number;
  readonly sentPerByte: number;
  /** Of a point, besides its bytes. */
  readonly fixedSeconds: number;
}

/** Whether a link is less than the target needs, and how bad that is. */
export interface LinkComplaint {
  readonly severity: "alarm" | "warning";
  readonly fault: Fault;
}

/** Judges a link by what is known; null when it is enough, or nothing is known that speaks against it. */
export function judgeGroupLink(judged: JudgedLink): LinkComplaint | null {
  const { health, capBytesPerSecond, targetRpoSeconds, ...changes } = judged;
  if (targetRpoSeconds === null || !health.isUp || health.roundTripMs === null) return null;
  const { uniqueBytesIn, sentPerByte, fixedSeconds } = changes;
  const demand: LinkDemand = {
    targetRpoSeconds,
    burst: { uniqueBytesIn, dailyBytes: null },
    sentPerByte,
    fixedSeconds,
  };
  const roundTripSeconds = health.roundTripMs / 1000;
  const rates = [health.bytesPerSecond, capBytesPerSecond].filter((rate) => rate !== null);
  // While no rate is known an endless one is assumed, which leaves the round trip to speak for itself.
  const isRateKnown = rates.length > 0;
  const bytesPerSecond = Math.min(...rates, Number.MAX_SAFE_INTEGER);
  const { kind, need, reason } = judgeLink(demand, { bytesPerSecond, roundTripSeconds });
  if (kind === "enough") return null;
  const isFar = roundTripSeconds > need.roundTripSeconds;
  if (!isRateKnown && !isFar) return null;
  const message = isRateKnown
    ? reason
    : `the link's round trip is ${formatSeconds(roundTripSeconds)}, a target of ${formatSeconds(targetRpoSeconds)} needs at most ${formatSeconds(need.roundTripSeconds)}`;
  const severity = kind === "lesser" ? "alarm" : "warning";
  return { severity, fault: new Fault("LINK_TOO_SLOW", message) };
}

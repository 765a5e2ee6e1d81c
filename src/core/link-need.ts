import { formatBytes, formatSeconds } from "../base/units.ts";
import { planInterval, targetMargin } from "./interval-plan.ts";

/** How a group's disks change, from an assessment or from what a running group learned. */
export interface ChangeStatistics {
  /** Unique bytes that change in so many seconds, of stretches of that length those that matter: see where it is given. */
  readonly uniqueBytesIn: (seconds: number) => number;
  /** Unique bytes that change in the worst day, or what a day would come to; null when that is not known. */
  readonly dailyBytes: number | null;
}

/** What a link is needed for; bytes of several groups on one link add up. */
export interface LinkDemand {
  readonly targetRpoSeconds: number;
  /** In the worst stretches that still have to hold the target: the 99th percentile, as a rule. */
  readonly burst: ChangeStatistics;
  /** Bytes sent for each byte changed: 1 without compression. */
  readonly sentPerByte: number;
  /** What a point takes besides its bytes and the link's round trips: freezing, sealing. */
  readonly fixedSeconds: number;
}

/** The rate and round trip that a target needs, with what they were made of. */
export interface LinkNeed {
  readonly bytesPerSecond: number;
  readonly roundTripSeconds: number;
  /** The interval at which the least is needed. */
  readonly intervalSeconds: number;
  /** For the bursts alone, without any addition. */
  readonly burstBytesPerSecond: number;
  /** For the day's changes spread over the day; null when they are not known. */
  readonly averageBytesPerSecond: number | null;
  /** How the rate came about, with its numbers. */
  readonly formula: string;
}

/** Round trips of a point that wait for each other: head, begin, last data, seal. */
export const roundTripsPerPoint = 4;
/** Share of the target that round trips may take. */
const roundTripShare = 0.1;
/** A round trip of more than this is a satellite's; the windows of the link are not made for more. */
const roundTripSecondsMax = 1;
/** What is sent again, and what frames, TLS and TCP add. */
export const wireAddition = 1.08;
/** So that a resync, or what waits in the spool, gets through beside the points. */
export const resyncAddition = 1.25;
/** The rule of thumb's factor on the average. */
export const averageSafety = 1.3;
const candidateRatio = 1.1;

/**
 * What the link needs. Two numbers, and the larger counts:
 *
 *   bursts:  unique(interval) x sent per byte / min(interval, target - interval - fixed)   at the interval that needs the least
 *   average: changed in a day / a day x safety          (the rule of thumb: total x daily change fraction / window x safety)
 */
export function linkNeed(demand: LinkDemand): LinkNeed {
  const { targetRpoSeconds, burst, sentPerByte, fixedSeconds } = demand;
  const roundTripSeconds = Math.min(
    roundTripSecondsMax,
    (targetRpoSeconds * roundTripShare) / roundTripsPerPoint,
  );
  const heldSeconds =
    targetRpoSeconds * (1 - targetMargin) - fixedSeconds - roundTripSeconds * roundTripsPerPoint;
  let intervalSeconds = heldSeconds / 2;
  let burstBytesPerSecond = Number.POSITIVE_INFINITY;
  for (let at = heldSeconds * 0.9; at > heldSeconds * 0.05 && at > 0; at /= candidateRatio) {
    const needed = (burst.uniqueBytesIn(at) * sentPerByte) / Math.min(at, heldSeconds - at);
    if (needed < burstBytesPerSecond) {
      burstBytesPerSecond = needed;
      intervalSeconds = at;
    }
  }
  const averageBytesPerSecond =
    burst.dailyBytes === null ? null : (burst.dailyBytes * sentPerByte) / 86_400;
  const forBursts = burstBytesPerSecond * wireAddition * resyncAddition;
  const forAverage = (averageBytesPerSecond ?? 0) * averageSafety * wireAddition;
  const rate = (bytes: number) => `${formatBytes(bytes)}/s`;
  const changed = formatBytes(burst.uniqueBytesIn(intervalSeconds));
  const share = `min(${formatSeconds(intervalSeconds)}, ${formatSeconds(heldSeconds - intervalSeconds)})`;
  const burstFormula = `${changed} in ${formatSeconds(intervalSeconds)} x ${sentPerByte.toFixed(2)} / ${share} x ${wireAddition} wire x ${resyncAddition} resync = ${rate(forBursts)}`;
  const averageFormula =
    burst.dailyBytes === null
      ? ""
      : `; average: ${formatBytes(burst.dailyBytes)} / 1 d x ${sentPerByte.toFixed(2)} x ${averageSafety} safety x ${wireAddition} wire = ${rate(forAverage)}`;
  return {
    bytesPerSecond: Math.max(forBursts, forAverage),
    ...{ roundTripSeconds, intervalSeconds, burstBytesPerSecond, averageBytesPerSecond },
    formula: `bursts: ${burstFormula}${averageFormula}`,
  };
}

/** A link as it was measured, or as somebody says it is. */
export interface MeasuredLink {
  readonly bytesPerSecond: number;
  readonly roundTripSeconds: number;
}

/**
 * Whether a link is enough. `tight`: the target is held, but there is no room for a resync or for what waited; `lesser`: it gives
 * no better than `rpoSeconds`, infinite when bursts pile up without end.
 */
export interface LinkVerdict {
  readonly kind: "enough" | "tight" | "lesser";
  readonly need: LinkNeed;
  /** The worst, but for a few points, at the best interval for that link. */
  readonly rpoSeconds: number;
  /** One sentence. */
  readonly reason: string;
}

/** Compares a link with what the target needs. */
export function judgeLink(demand: LinkDemand, link: MeasuredLink): LinkVerdict {
  const need = linkNeed(demand);
  const rpoSeconds = rpoOver(demand, link);
  const isFast = link.bytesPerSecond >= need.bytesPerSecond;
  const isNear = link.roundTripSeconds <= need.roundTripSeconds;
  const has = `${formatBytes(link.bytesPerSecond)}/s and ${formatSeconds(link.roundTripSeconds)} round trip`;
  const needs = `${formatBytes(need.bytesPerSecond)}/s and at most ${formatSeconds(need.roundTripSeconds)}`;
  const target = formatSeconds(demand.targetRpoSeconds);
  const verdict = (kind: LinkVerdict["kind"], what: string): LinkVerdict => ({
    ...{ kind, need, rpoSeconds },
    reason: `the link has ${has}, a target of ${target} needs ${needs}: ${what}`,
  });
  if (rpoSeconds > demand.targetRpoSeconds) {
    const gives = Number.isFinite(rpoSeconds)
      ? `an RPO of ${formatSeconds(rpoSeconds)} is what it gives`
      : "bursts would pile up without end";
    return verdict("lesser", gives);
  }
  if (isFast && isNear) return verdict("enough", "it is enough");
  return verdict("tight", "the target is held, with no room for a resync beside it");
}

/** The best RPO that a link gives, over intervals of up to an hour. */
function rpoOver({ burst, sentPerByte, fixedSeconds }: LinkDemand, link: MeasuredLink): number {
  const cost = {
    fixedMs: (fixedSeconds + link.roundTripSeconds * roundTripsPerPoint) * 1000,
    msPerByte: (sentPerByte * wireAddition * 1000) / link.bytesPerSecond,
    lateMs: 0,
  };
  const bounds = { intervalMinMs: 100, intervalMaxMs: 3_600_000, linkBytesPerSecondMax: null };
  // No interval holds a target of nothing: what comes back is the best there is.
  const plan = planInterval(
    { kind: "target", targetRpoMs: 0, ...bounds },
    {
      uniqueBytesIn: (stretchMs) => burst.uniqueBytesIn(stretchMs / 1000),
      ...{ lag: cost, busy: cost, sentPerByte: 1, linkBytesPerSecond: null },
    },
  );
  return plan.rpoMs / 1000;
}

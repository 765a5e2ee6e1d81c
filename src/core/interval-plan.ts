import type { LinearCost } from "./linear-cost.ts";

/** What a group asks of its points' distance. */
export type IntervalGoal =
  | { readonly kind: "fixed"; readonly intervalMs: number }
  | {
      readonly kind: "target";
      readonly targetRpoMs: number;
      readonly intervalMinMs: number;
      readonly intervalMaxMs: number;
      /** What the group may send on average; null: as much as the link takes. */
      readonly linkBytesPerSecondMax: number | null;
    };

/** A goal that leaves the interval open. */
export type TargetGoal = Extract<IntervalGoal, { readonly kind: "target" }>;

/** What is known when an interval is chosen. */
export interface IntervalFacts {
  /** Unique bytes that change in a stretch of time. */
  readonly uniqueBytesIn: (stretchMs: number) => number;
  /** From the moment a cycle was due to its seal at the vault. */
  readonly lag: LinearCost;
  /** From the moment a cycle was due until the next one may begin: all of the lag, or only the reading where shipping overlaps. */
  readonly busy: LinearCost;
  /** Bytes on the wire for each unique byte. */
  readonly sentPerByte: number;
  /** What the link carries; null when that is not known. */
  readonly linkBytesPerSecond: number | null;
}

/** What an interval would come to. */
export interface IntervalOutlook {
  readonly intervalMs: number;
  /** What it would really be: longer when a cycle takes longer than that. Infinite when cycles would never catch up. */
  readonly realIntervalMs: number;
  /** The worst, but for a few, that a loss of the source would cost just before a seal. */
  readonly rpoMs: number;
  readonly uniqueBytes: number;
  readonly sentBytesPerSecond: number;
}

/** Which bound decided: the target, the target that nothing holds, or the link's budget. */
export type IntervalBound = "target" | "unattainable" | "budget";

/** The interval to take, and which bound decided. */
export interface IntervalPlan extends IntervalOutlook {
  readonly bound: IntervalBound;
}

/** Share of the target that is kept for what nobody foresees. */
export const targetMargin = 0.1;
const candidateRatio = 1.05;
/** Of intervals that come within this share of the best RPO the longest is taken: it sends less. */
const nearBest = 0.03;
/** Beyond a day cycles are said never to catch up. */
const realIntervalMsMax = 24 * 3_600_000;
/** Enough to find an interval within a day to a thousandth. */
const halvings = 24;
/** Of what the link carries; the rest lets what waits flow off. */
const linkShareMax = 0.9;

/**
 * The longest interval that holds the target, since a longer one sends fewer bytes. Where none does, the one with the best RPO
 * that the budget allows: a shorter one would only add cost to cost.
 */
export function planInterval(goal: TargetGoal, facts: IntervalFacts): IntervalPlan {
  const heldMs = goal.targetRpoMs * (1 - targetMargin);
  const budget = goal.linkBytesPerSecondMax ?? Number.POSITIVE_INFINITY;
  const outlooks = candidatesOf(goal).map((intervalMs) => outlookOf(intervalMs, facts));
  const payable = outlooks.filter(({ sentBytesPerSecond }) => sentBytesPerSecond <= budget);
  const longest = payable.findLast(({ rpoMs }) => rpoMs <= heldMs);
  if (longest) return { ...longest, bound: "target" };
  const [unpaid] = outlooks.slice(-1);
  const bestMs = Math.min(...payable.map(({ rpoMs }) => rpoMs));
  const best = payable.findLast(({ rpoMs }) => rpoMs <= bestMs * (1 + nearBest)) ?? unpaid;
  const isBudget = outlooks.some(({ rpoMs }) => rpoMs <= heldMs);
  if (best === undefined) throw new RangeError("there is no interval between the bounds");
  return { ...best, bound: isBudget || payable.length === 0 ? "budget" : "unattainable" };
}

/** What comes of one interval. */
export function outlookOf(intervalMs: number, facts: IntervalFacts): IntervalOutlook {
  const { lag, busy, uniqueBytesIn, sentPerByte, linkBytesPerSecond } = facts;
  const wireMsPerByte = linkBytesPerSecond === null ? 0 : (sentPerByte * 1000) / linkBytesPerSecond;
  const neededMsIn = (stretchMs: number) => {
    const bytes = uniqueBytesIn(stretchMs);
    const wireMs = (wireMsPerByte * bytes) / linkShareMax;
    return Math.max(busy.fixedMs + busy.msPerByte * bytes, wireMs);
  };
  const realMs = caughtUpMs(intervalMs, neededMsIn);
  if (!Number.isFinite(realMs)) {
    const endless = { realIntervalMs: realMs, rpoMs: realMs, uniqueBytes: realMs };
    return { intervalMs, ...endless, sentBytesPerSecond: linkBytesPerSecond ?? realMs };
  }
  const uniqueBytes = uniqueBytesIn(realMs);
  const lagMs = lag.fixedMs + Math.max(lag.msPerByte, wireMsPerByte) * uniqueBytes + lag.lateMs;
  return {
    intervalMs,
    realIntervalMs: realMs,
    rpoMs: realMs + lagMs,
    uniqueBytes,
    sentBytesPerSecond: (uniqueBytes * sentPerByte * 1000) / realMs,
  };
}

/**
 * The shortest interval, not below the wanted one, in which what has changed can be dealt with; infinite when there is none. What
 * is needed bends down as a function of time, so there is one place at most from which on time is enough.
 */
function caughtUpMs(intervalMs: number, neededMsIn: (stretchMs: number) => number): number {
  if (neededMsIn(intervalMs) <= intervalMs) return intervalMs;
  if (neededMsIn(realIntervalMsMax) > realIntervalMsMax) return Number.POSITIVE_INFINITY;
  let shortMs = intervalMs;
  let longMs = realIntervalMsMax;
  for (let round = 0; round < halvings; round += 1) {
    const middleMs = Math.sqrt(shortMs * longMs);
    if (neededMsIn(middleMs) <= middleMs) longMs = middleMs;
    else shortMs = middleMs;
  }
  return longMs;
}

/** From the shortest to the longest, both among them. */
function candidatesOf({ intervalMinMs, intervalMaxMs }: TargetGoal): readonly number[] {
  const candidates: number[] = [];
  for (let atMs = intervalMinMs; atMs < intervalMaxMs; atMs *= candidateRatio)
    candidates.push(atMs);
  return [...candidates, intervalMaxMs];
}

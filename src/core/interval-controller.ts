import { formatBytes, formatSeconds } from "../base/units.ts";
import { CoalescingCurve } from "./coalescing-curve.ts";
import {
  type IntervalFacts,
  type IntervalGoal,
  type IntervalPlan,
  outlookOf,
  planInterval,
  type TargetGoal,
  targetMargin,
} from "./interval-plan.ts";
import { type LinearCost, LinearCostFit } from "./linear-cost.ts";

//   counts between points ─▶ curve ──┐
//   cost of each point ─▶ lag, busy ─┼─▶ plan: longest interval that holds ─▶ near the one in force? ─ yes ─▶ kept
//   link's rate, budget ─────────────┘                                           │ no: shorter at once, longer by steps
//                                                                                ▼
//                                                    changed, with reason and prediction ─▶ later: what was realised
//
//   between two points: changes gather faster than planned ─▶ the next begins as early as the target needs

/** What one cycle was. Times on one monotonic clock. */
export interface CycleObservation {
  /** From the last point's instant, or the last moment at which nothing had changed, to the moment the cycle was due. */
  readonly intervalMs: number;
  /** From then to the seal at the vault; null when the point waited in a spool, which says nothing of its cost. */
  readonly lagMs: number | null;
  /** From then until the next might begin. */
  readonly busyMs: number;
  /** By the bitmaps, whole blocks. */
  readonly dirtyBytes: number;
  /** On the wire, or in the delta's file where no wire is. */
  readonly sentBytes: number;
}

/** The interval in force and why. */
export interface IntervalDecision {
  readonly intervalMs: number;
  /** One sentence. */
  readonly reason: string;
  /** What RPO it should give at worst, but for a few points. */
  readonly predictedRpoMs: number;
  /** False when no interval holds the target; then `attainableRpoMs` is the target that one would hold. */
  readonly isHeld: boolean;
  readonly attainableRpoMs: number;
}

/** An interval that was in force, and what came of it. */
export interface IntervalOutcome {
  readonly intervalMs: number;
  readonly predictedRpoMs: number;
  readonly points: number;
  readonly meanRpoMs: number;
  readonly worstRpoMs: number;
}

/** Changes of the interval below this share are not worth telling of. */
const keptWithin = 0.1;
/** A longer interval has to be right for so many points in a row, and comes in steps of at most `relaxRatioMax`. */
const relaxAfterPoints = 3;
const relaxRatioMax = 1.5;
/** After fewer points nothing is said to be out of reach: one of them alone tells no fixed cost from one for each byte. */
const learnedCyclesMin = 4;
/** What the newest point counts in the mean of bytes sent for each byte changed. */
const sentWeight = 0.2;

/** Chooses when a group's next point is due. Pure: knows no clock and no randomness; the same facts give the same decisions. */
export class IntervalController {
  readonly #goal: IntervalGoal;
  readonly #curve = new CoalescingCurve();
  readonly #lag = new LinearCostFit();
  readonly #busy = new LinearCostFit();
  #sentPerByte = 1;
  #linkBytesPerSecond: number | null = null;
  /** Whether the last point went by way of the spool: cut there first, and shipped then. */
  #isSpooled = false;
  #decision: IntervalDecision;
  #longerInARow = 0;
  #cycles = 0;
  /** Whether the interval in force holds the target with room to spare. */
  #hasMargin = true;
  #realised = { points: 0, sumMs: 0, worstRpoMs: 0 };

  constructor(goal: IntervalGoal) {
    this.#goal = goal;
    const intervalMs = goal.kind === "fixed" ? goal.intervalMs : firstIntervalMs(goal);
    const reason = goal.kind === "fixed" ? "the interval is configured" : "nothing is learned yet";
    this.#decision = {
      ...{ intervalMs, reason, predictedRpoMs: intervalMs },
      ...{ isHeld: true, attainableRpoMs: intervalMs },
    };
  }

  /** What is in force now. */
  get decision(): IntervalDecision {
    return this.#decision;
  }

  /** What the link carries, measured or capped; null when not known. */
  setLink(bytesPerSecond: number | null): void {
    this.#linkBytesPerSecond = bytesPerSecond;
  }

  /** What had changed `elapsedMs` after the last point's instant; `nowMs` is monotonic. */
  observeCount(count: {
    readonly elapsedMs: number;
    readonly dirtyBytes: number;
    readonly nowMs: number;
  }): void {
    const { elapsedMs, dirtyBytes, nowMs } = count;
    this.#curve.add({ elapsedMs, uniqueBytes: dirtyBytes, nowMs });
  }

  /**
   * Takes in what a cycle was and decides anew. Resolves the interval that was in force when it was changed, with what came of it;
   * null when it goes on.
   */
  observeCycle(cycle: CycleObservation, nowMs: number): IntervalOutcome | null {
    const { intervalMs, lagMs, busyMs, dirtyBytes, sentBytes } = cycle;
    const assumed = this.#wireMsPerByte();
    this.#curve.add({ elapsedMs: intervalMs, uniqueBytes: dirtyBytes, nowMs });
    this.#curve.flush();
    this.#busy.add(dirtyBytes, busyMs, assumed);
    this.#cycles += 1;
    this.#isSpooled = lagMs === null;
    if (lagMs !== null) {
      this.#lag.add(dirtyBytes, lagMs, assumed);
      const { points, sumMs, worstRpoMs } = this.#realised;
      const rpoMs = intervalMs + lagMs;
      this.#realised = {
        points: points + 1,
        sumMs: sumMs + rpoMs,
        worstRpoMs: Math.max(worstRpoMs, rpoMs),
      };
    }
    if (dirtyBytes > 0) {
      this.#sentPerByte += sentWeight * (sentBytes / dirtyBytes - this.#sentPerByte);
    }
    return this.#goal.kind === "fixed" ? null : this.#decide(this.#goal, nowMs);
  }

  /** Nothing had changed for so long, and the vault was told so instead of being sent a point; decides anew as after a cycle. */
  observeIdle(intervalMs: number, nowMs: number): IntervalOutcome | null {
    this.#curve.add({ elapsedMs: intervalMs, uniqueBytes: 0, nowMs });
    this.#curve.flush();
    return this.#goal.kind === "fixed" ? null : this.#decide(this.#goal, nowMs);
  }

  /**
   * How long after the last point's instant the next cycle is due at the latest, when so much has changed so far and changes go
   * on as fast as they did since the count before: the interval in force, or less, should they gather faster than planned.
   */
  dueAfterMs(count: {
    readonly elapsedMs: number;
    readonly dirtyBytes: number;
    /** Of late. */
    readonly dirtyBytesPerMs: number;
  }): number {
    const goal = this.#goal;
    const { intervalMs, isHeld } = this.#decision;
    // Where nothing holds the target, beginning early would only add cost to cost.
    const isFree = isHeld && this.#hasMargin && this.#busy.isKnown;
    if (goal.kind === "fixed" || !isFree) return intervalMs;
    const { elapsedMs, dirtyBytes, dirtyBytesPerMs } = count;
    const { fixedMs, msPerByte, lateMs } = this.#lagCost();
    const sparedMs = goal.targetRpoMs * (1 - targetMargin) - fixedMs - lateMs;
    const gatheredMs = msPerByte * (dirtyBytes - dirtyBytesPerMs * elapsedMs);
    const dueMs = (sparedMs - gatheredMs) / (1 + msPerByte * dirtyBytesPerMs);
    return Math.min(intervalMs, Math.max(goal.intervalMinMs, dueMs));
  }

  /** The learned curve: unique bytes that change in so long a stretch. */
  uniqueBytesIn(stretchMs: number, nowMs: number): number {
    return this.#curve.bytesIn(stretchMs, nowMs);
  }

  #facts(nowMs: number): IntervalFacts {
    const assumed = this.#wireMsPerByte();
    return {
      uniqueBytesIn: (stretchMs) => this.#curve.bytesIn(stretchMs, nowMs),
      lag: this.#lagCost(),
      busy: this.#busy.cost(assumed),
      sentPerByte: this.#sentPerByte,
      linkBytesPerSecond: this.#linkBytesPerSecond,
    };
  }

  #decide(goal: TargetGoal, nowMs: number): IntervalOutcome | null {
    const facts = this.#facts(nowMs);
    const plan = planInterval(goal, facts);
    const before = this.#decision;
    // With a margin before it is called held, and without one before it is called not held: what lies between goes on as it was.
    const isNearlyHeld = before.isHeld && plan.rpoMs <= goal.targetRpoMs;
    const isHeld = plan.bound === "target" || isNearlyHeld;
    if (!isHeld && this.#cycles < learnedCyclesMin) return null;
    this.#hasMargin = plan.bound === "target";
    const attainableRpoMs = plan.rpoMs / (1 - targetMargin);
    const isNear = Math.abs(plan.intervalMs / before.intervalMs - 1) <= keptWithin;
    const isLonger = plan.intervalMs > before.intervalMs;
    this.#longerInARow = isLonger && !isNear ? this.#longerInARow + 1 : 0;
    const isPatient = isLonger && isHeld && this.#longerInARow < relaxAfterPoints;
    const mayChange = !isNear && !isPatient;
    if (!mayChange && isHeld === before.isHeld) {
      const current = outlookOf(before.intervalMs, facts);
      this.#decision = { ...before, attainableRpoMs, predictedRpoMs: current.rpoMs };
      return null;
    }
    const longestMs = before.intervalMs * relaxRatioMax;
    const intervalMs = mayChange ? Math.min(plan.intervalMs, longestMs) : before.intervalMs;
    const chosen = { ...plan, ...outlookOf(intervalMs, facts) };
    const outcome = this.#outcome();
    const reason = reasonOf({ goal, before, chosen, isHeld, attainableRpoMs, facts });
    const predictedRpoMs = chosen.rpoMs;
    this.#decision = { intervalMs, reason, predictedRpoMs, isHeld, attainableRpoMs };
    this.#longerInARow = 0;
    return outcome;
  }

  #outcome(): IntervalOutcome {
    const { points, sumMs, worstRpoMs } = this.#realised;
    this.#realised = { points: 0, sumMs: 0, worstRpoMs: 0 };
    const { intervalMs, predictedRpoMs } = this.#decision;
    const meanRpoMs = points === 0 ? 0 : sumMs / points;
    return { intervalMs, predictedRpoMs, points, meanRpoMs, worstRpoMs };
  }

  /** What it takes from a point's being due to its seal at the vault, as points go now. */
  #lagCost(): LinearCost {
    const wire = this.#wireMsPerByte();
    if (this.#isSpooled) {
      const busy = this.#busy.cost(wire);
      return { ...busy, msPerByte: busy.msPerByte + (wire ?? 0) };
    }
    const lag = this.#lag.cost(wire);
    return { ...lag, msPerByte: Math.max(lag.msPerByte, wire ?? 0) };
  }

  #wireMsPerByte(): number | null {
    const rate = this.#linkBytesPerSecond;
    return rate === null ? null : (this.#sentPerByte * 1000) / rate;
  }
}

/** Half the target, within the bounds: a point taken now and the one before it both fit. */
function firstIntervalMs({ targetRpoMs, intervalMinMs, intervalMaxMs }: TargetGoal): number {
  return Math.min(intervalMaxMs, Math.max(intervalMinMs, targetRpoMs / 2));
}

const seconds = (ms: number) => (Number.isFinite(ms) ? formatSeconds(ms / 1000) : "no end");

function reasonOf(options: {
  readonly goal: TargetGoal;
  readonly before: IntervalDecision;
  readonly chosen: IntervalPlan;
  readonly isHeld: boolean;
  readonly attainableRpoMs: number;
  readonly facts: IntervalFacts;
}): string {
  const { goal, before, chosen, isHeld, attainableRpoMs, facts } = options;
  const target = seconds(goal.targetRpoMs);
  const changed = `${formatBytes(chosen.uniqueBytes)} change in ${seconds(chosen.realIntervalMs)}`;
  if (isHeld && chosen.bound !== "target") {
    return `the target of ${target} is held with no room to spare: ${changed}`;
  }
  if (chosen.bound === "budget") {
    const budget = formatBytes(goal.linkBytesPerSecondMax ?? 0);
    return `shorter intervals would send more than the link's budget of ${budget}/s: the target of ${target} cannot be held, ${seconds(attainableRpoMs)} can`;
  }
  if (chosen.bound === "unattainable") {
    if (!Number.isFinite(chosen.rpoMs)) {
      return `no interval holds the target of ${target}: changes come faster than points can be sent`;
    }
    return `no interval holds the target of ${target}: ${changed}, and a point takes ${seconds(chosen.rpoMs - chosen.realIntervalMs)}; ${seconds(attainableRpoMs)} can be held`;
  }
  if (!before.isHeld) return `the target of ${target} can be held again: ${changed}`;
  if (chosen.intervalMs > before.intervalMs) {
    return `relaxed: only ${changed}, and a longer interval sends less`;
  }
  const was = outlookOf(before.intervalMs, facts);
  return `tightened: ${changed}, and ${seconds(before.intervalMs)} would give an RPO of ${seconds(was.rpoMs)} against a target of ${target}`;
}

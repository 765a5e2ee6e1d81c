import { IntervalController, type IntervalOutcome } from "../core/interval-controller.ts";
import type { IntervalDecision, IntervalFacts, IntervalPolicy } from "./interval.ts";

//              cut                       nothing had changed
//   ┌────────────────────────┐   ┌──────────────────────────────┐
//   │                        ▼   ▼                              │
//   due ◀── near enough ── learned ── far off ─▶ wait a bit ─▶ look at what is dirty ─┐
//    ▲                       ▲                                                        │
//    └── sooner than planned ┴────────────────────────────────────────────────────────┘

/** What is dirty is looked at so many times in a target's length, within the bounds below. */
const looksPerTarget = 16;
const lookEveryMsMin = 100;
const lookEveryMsMax = 2000;

/** What a target asks. */
export interface AdaptiveIntervalOptions {
  readonly targetRpoSeconds: number;
  readonly intervalMinSeconds: number;
  readonly intervalMaxSeconds: number;
  /** What the group may send on average; null: as much as the link takes. */
  readonly linkBudgetBytesPerSecond?: number | null;
  /** The cap in force on what the group may send; null when there is none. Asked at each point. */
  readonly linkCapBytesPerSecond?: () => number | null;
  /** What the link carries; null when that is not known. Asked while points wait in the spool, whose cost tells nothing of it. */
  readonly linkBytesPerSecond?: () => number | null;
  readonly onChange?: (change: IntervalChange) => void;
}

/** The interval is another, or whether the target can be held is. */
export interface IntervalChange {
  readonly intervalSeconds: number;
  /** One sentence. */
  readonly reason: string;
  /** What RPO it should give at worst, but for a few points; infinite when points would never catch up. */
  readonly predictedRpoSeconds: number;
  /** False when no interval holds the target; `attainableRpoSeconds` is one that would be held. */
  readonly isHeld: boolean;
  readonly attainableRpoSeconds: number;
  /** What was in force before, and what came of it. */
  readonly before: RealisedInterval;
}

/** What came of an interval while it was in force. */
export interface RealisedInterval {
  readonly intervalSeconds: number;
  readonly predictedRpoSeconds: number;
  readonly points: number;
  readonly meanRpoSeconds: number;
  readonly worstRpoSeconds: number;
}

/** Decides when points are cut so that a target is held, learning from each; see core/interval-controller.ts. */
export interface AdaptiveInterval extends IntervalPolicy {
  readonly inForce: {
    readonly seconds: number;
    readonly reason: string;
    readonly isHeld: boolean;
    readonly predictedRpoSeconds: number;
    readonly attainableRpoSeconds: number;
  };
  /** Unique bytes that change in so many seconds, as learned. */
  uniqueBytesIn(seconds: number, nowMs: number): number;
}

/** Makes the policy of one group. */
export function adaptiveInterval(options: AdaptiveIntervalOptions): AdaptiveInterval {
  return new LearningInterval(options);
}

class LearningInterval implements AdaptiveInterval {
  readonly #options: AdaptiveIntervalOptions;
  readonly #controller: IntervalController;
  readonly #lookEveryMs: number;
  /** When what is dirty now began to gather; null before the first point of a life. */
  #countedFromMs: number | null = null;
  /** When the next point is to be cut, as was decided. */
  #promisedAtMs: number | null = null;
  #looked = { atMs: 0, dirtyBytes: 0 };
  #dirtyBytesPerMs = 0;

  constructor(options: AdaptiveIntervalOptions) {
    const targetRpoMs = options.targetRpoSeconds * 1000;
    this.#options = options;
    this.#controller = new IntervalController({
      kind: "target",
      targetRpoMs,
      intervalMinMs: options.intervalMinSeconds * 1000,
      intervalMaxMs: options.intervalMaxSeconds * 1000,
      linkBytesPerSecondMax: options.linkBudgetBytesPerSecond ?? null,
    });
    const wanted = targetRpoMs / looksPerTarget;
    this.#lookEveryMs = Math.min(lookEveryMsMax, Math.max(lookEveryMsMin, wanted));
  }

  get inForce(): AdaptiveInterval["inForce"] {
    const { intervalMs, reason, isHeld, ...rpo } = this.#controller.decision;
    return {
      ...{ seconds: intervalMs / 1000, reason, isHeld },
      predictedRpoSeconds: rpo.predictedRpoMs / 1000,
      attainableRpoSeconds: rpo.attainableRpoMs / 1000,
    };
  }

  uniqueBytesIn(seconds: number, nowMs: number): number {
    return this.#controller.uniqueBytesIn(seconds * 1000, nowMs);
  }

  next(facts: IntervalFacts): IntervalDecision {
    const { step, nowMs, dueAtMs } = facts;
    const before = this.#controller.decision.reason;
    if (step.kind === "polled") this.#look(step.dirtyBytes, nowMs);
    else this.#learn(facts);
    const { reason } = this.#controller.decision;
    const countedFromMs = this.#countedFromMs ?? dueAtMs;
    const { dirtyBytes } = this.#looked;
    const dirtyBytesPerMs = this.#dirtyBytesPerMs;
    const elapsedMs = this.#looked.atMs - countedFromMs;
    const afterMs = this.#controller.dueAfterMs({ elapsedMs, dirtyBytes, dirtyBytesPerMs });
    const leftMs = Math.max(0, countedFromMs + afterMs - nowMs);
    const isNear = leftMs <= this.#lookEveryMs;
    this.#promisedAtMs = isNear ? nowMs + leftMs : null;
    return {
      waitMs: isNear ? leftMs : this.#lookEveryMs,
      action: isNear ? "cut" : "poll",
      skipped: step.kind === "polled" ? 0 : this.#skipped(nowMs, countedFromMs),
      reason: reason === before ? null : reason,
    };
  }

  /** A point was cut, or was not needed. */
  #learn({ step, dueAtMs, nowMs }: IntervalFacts): void {
    if (step.kind === "polled") return;
    const { linkCapBytesPerSecond, linkBytesPerSecond } = this.#options;
    const isSpooled = step.kind === "cycle" && step.report.via === "spool";
    const measured = isSpooled ? (linkBytesPerSecond?.() ?? null) : null;
    this.#controller.setLink(least(measured, linkCapBytesPerSecond?.() ?? null));
    // Not what was promised: the engine has attached anew meanwhile, and what had gathered by then says nothing of a rate.
    const isOwn = this.#promisedAtMs === dueAtMs && this.#countedFromMs !== null;
    const intervalMs = dueAtMs - (this.#countedFromMs ?? dueAtMs);
    this.#countedFromMs = dueAtMs;
    this.#looked = { atMs: dueAtMs, dirtyBytes: 0 };
    if (!isOwn) return;
    const outcome =
      step.kind === "current"
        ? this.#controller.observeIdle(intervalMs, nowMs)
        : this.#controller.observeCycle(cycleOf(step.report, intervalMs, nowMs - dueAtMs), nowMs);
    if (outcome !== null) this.#tell(outcome);
  }

  #look(dirtyBytes: number | null, nowMs: number): void {
    if (dirtyBytes === null || this.#countedFromMs === null) return;
    const passedMs = nowMs - this.#looked.atMs;
    const grownBytes = dirtyBytes - this.#looked.dirtyBytes;
    if (passedMs > 0) this.#dirtyBytesPerMs = Math.max(0, grownBytes) / passedMs;
    this.#looked = { atMs: nowMs, dirtyBytes };
    this.#controller.observeCount({ elapsedMs: nowMs - this.#countedFromMs, dirtyBytes, nowMs });
  }

  #skipped(nowMs: number, countedFromMs: number): number {
    const { intervalMs } = this.#controller.decision;
    return Math.max(0, Math.floor((nowMs - countedFromMs) / intervalMs) - 1);
  }

  #tell(outcome: IntervalOutcome): void {
    const { seconds, ...inForce } = this.inForce;
    this.#options.onChange?.({
      intervalSeconds: seconds,
      ...inForce,
      before: {
        intervalSeconds: outcome.intervalMs / 1000,
        predictedRpoSeconds: outcome.predictedRpoMs / 1000,
        points: outcome.points,
        meanRpoSeconds: outcome.meanRpoMs / 1000,
        worstRpoSeconds: outcome.worstRpoMs / 1000,
      },
    });
  }
}

type Report = Extract<IntervalFacts["step"], { readonly kind: "cycle" }>["report"];

/** What a cycle cost, from the moment it was due. */
function cycleOf(report: Report, intervalMs: number, busyMs: number) {
  const { via, dirtyBytes, storedBytes, phasesMs } = report;
  // What comes after the seal keeps the next point waiting, and this one no more.
  const afterSealMs = (phasesMs.forget ?? 0) + (phasesMs.end ?? 0);
  const lagMs = via === "direct" ? Math.max(0, busyMs - afterSealMs) : null;
  return { intervalMs, lagMs, busyMs, dirtyBytes, sentBytes: storedBytes };
}

function least(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other;
  return Math.min(one, other);
}

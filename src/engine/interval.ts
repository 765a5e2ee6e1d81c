import type { CycleReport } from "./cycle-report.ts";

/** When the next cycle starts, on the monotonic clock, and how many starts were missed. */
export interface NextStart {
  readonly atMs: number;
  readonly skipped: number;
}

/** Starts lie a whole number of intervals after the first; those that passed while a cycle ran are left out, not made up for. */
export function nextStart(startedAtMs: number, intervalMs: number, nowMs: number): NextStart {
  const due = Math.ceil((nowMs - startedAtMs) / intervalMs);
  const intervals = Math.max(1, due);
  return { atMs: startedAtMs + intervals * intervalMs, skipped: intervals - 1 };
}

/** What has just ended. */
export type IntervalStep =
  /** A point was cut. */
  | { readonly kind: "cycle"; readonly report: CycleReport }
  /** A point was due and nothing had changed: the vault was told so instead. */
  | { readonly kind: "current" }
  /** A look at what is dirty; null where it cannot be told. */
  | { readonly kind: "polled"; readonly dirtyBytes: number | null };

/** What an interval is decided from; times are on the monotonic clock. */
export interface IntervalFacts {
  readonly step: IntervalStep;
  /** When the point that was cut last (or found not to be needed) had been due. */
  readonly dueAtMs: number;
  readonly nowMs: number;
}

/** What comes next. */
export interface IntervalDecision {
  /** From `nowMs`; not negative. */
  readonly waitMs: number;
  /** What follows the wait: a point, or a look at what is dirty and then another decision. */
  readonly action: "cut" | "poll";
  /** Starts that passed while a cycle ran. */
  readonly skipped: number;
  /** Why the interval is another than before, one sentence; null when it is not. */
  readonly reason: string | null;
}

/** Decides when points are cut. */
export interface IntervalPolicy {
  next(facts: IntervalFacts): IntervalDecision;
}

/** From the start of one cycle to the start of the next, always the same. */
export function fixedInterval(intervalSeconds: number): IntervalPolicy {
  return {
    next: ({ dueAtMs, nowMs }) => {
      const { atMs, skipped } = nextStart(dueAtMs, intervalSeconds * 1000, nowMs);
      return { waitMs: Math.max(0, atMs - nowMs), action: "cut", skipped, reason: null };
    },
  };
}

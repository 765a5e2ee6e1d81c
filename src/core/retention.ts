import type { Point } from "./point.ts";

/** How long points stay. A limit of null does not limit. */
export interface RetentionPolicy {
  /** At most this many points; at least 1. */
  readonly pointsMax: number | null;
  /** Points sealed longer ago than this go; at least 1. */
  readonly ageMaxMs: number | null;
}

/** Among points sealed longer ago than `olderThanMs`, one in each span of `everyMs` is enough. */
export interface ThinningStep {
  readonly olderThanMs: number;
  readonly everyMs: number;
}

/** What retention needs to know of a point. */
export type RetainedPoint = Pick<Point, "id" | "sealedAtMs">;

/**
 * The oldest point that stays, from `points` oldest first; null when there are none. Only an unbroken run from the oldest
 * end goes, and never the newest, so a clock that jumped retires too little rather than too much.
 */
export function oldestRetained<Kind extends RetainedPoint>(
  points: readonly Kind[],
  policy: RetentionPolicy,
  nowMs: number,
): Kind | null {
  const pointsMax = policy.pointsMax ?? Number.POSITIVE_INFINITY;
  const ageMaxMs = policy.ageMaxMs ?? Number.POSITIVE_INFINITY;
  let oldest = 0;
  for (const [index, point] of points.entries()) {
    const isSurplus = points.length - index > pointsMax;
    const isOld = nowMs - point.sealedAtMs > ageMaxMs;
    if (!isSurplus && !isOld) break;
    oldest = index + 1;
  }
  return points[Math.min(oldest, points.length - 1)] ?? null;
}

/**
 * The points that thinning keeps, from `points` oldest first: the newest of each span of the last step that reaches that far
 * back, everything younger than the first step, and always the oldest and the newest point.
 */
export function pointsKeptByThinning<Kind extends RetainedPoint>(
  points: readonly Kind[],
  steps: readonly ThinningStep[],
  nowMs: number,
): readonly Kind[] {
  const kept: Kind[] = [];
  let spanBefore: string | null = null;
  for (const point of points.toReversed()) {
    const span = spanOf(point, steps, nowMs);
    const isEnd = point === points[0] || point === points.at(-1);
    if (isEnd || span === null || span !== spanBefore) kept.push(point);
    spanBefore = span;
  }
  return kept.reverse();
}

/** Spans are counted from 1970, not from now: a point that was kept stays the newest of its span as time passes. */
function spanOf(
  point: RetainedPoint,
  steps: readonly ThinningStep[],
  nowMs: number,
): string | null {
  const ageMs = nowMs - point.sealedAtMs;
  const step = steps
    .filter(({ olderThanMs }) => ageMs > olderThanMs)
    .reduce<ThinningStep | null>(
      (last, next) => (last !== null && last.olderThanMs > next.olderThanMs ? last : next),
      null,
    );
  return step === null ? null : `${step.everyMs}:${Math.floor(point.sealedAtMs / step.everyMs)}`;
}

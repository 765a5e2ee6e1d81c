// How many unique bytes change in a stretch of time: blocks that are written again and again count once, so the curve bends. It is
// learned from counts that are polled while changes gather, never from a model: a table over stretches of geometric length.

/** Length of the shortest stretch that is told apart, in milliseconds. */
const shortestMs = 100;
/** Each stretch is so much longer than the one before. */
const stretchRatio = 1.5;
/** The longest is about two hours. */
const stretchesMax = 28;
/** Weight of a new sample beside all before it. */
const freshWeight = 0.3;
/** A stretch that was not seen for so many of its own lengths, and for so long, is forgotten: the load may be another by now. */
const forgottenAfterLengths = 20;
const forgottenAfterMs = 120_000;

interface Stretch {
  /** Unique bytes, mean of late. */
  meanBytes: number;
  /** Mean distance from the mean. */
  deviationBytes: number;
  seenAtMs: number;
}

/** A point of the curve. */
export interface CurvePoint {
  readonly stretchMs: number;
  readonly uniqueBytes: number;
}

/** The learned curve of one group. */
export class CoalescingCurve {
  readonly #stretches: (Stretch | null)[] = Array.from({ length: stretchesMax }, () => null);
  #pending: { readonly index: number; readonly bytes: number; readonly nowMs: number } | null =
    null;
  #points: readonly CurvePoint[] | null = null;

  /** So many unique bytes had changed `elapsedMs` after counting began; `nowMs` is monotonic. Samples of one stretch come in order. */
  add(sample: {
    readonly elapsedMs: number;
    readonly uniqueBytes: number;
    readonly nowMs: number;
  }): void {
    const { elapsedMs, uniqueBytes, nowMs } = sample;
    if (elapsedMs < shortestMs / 2) return;
    const index = indexOf(elapsedMs);
    // Of the polls that fall into one stretch only the last counts: they are not independent.
    if (this.#pending !== null && this.#pending.index !== index) this.flush();
    const bytes = (uniqueBytes * lengthOf(index)) / elapsedMs;
    this.#pending = { index, bytes, nowMs };
  }

  /** Takes the last sample in; called when counting begins anew. */
  flush(): void {
    const pending = this.#pending;
    if (pending === null) return;
    this.#pending = null;
    this.#points = null;
    const { index, bytes, nowMs } = pending;
    const known = this.#stretches[index] ?? null;
    if (known === null || isForgotten(known, index, nowMs)) {
      this.#stretches[index] = { meanBytes: bytes, deviationBytes: 0, seenAtMs: nowMs };
      return;
    }
    const offBytes = bytes - known.meanBytes;
    known.meanBytes += freshWeight * offBytes;
    known.deviationBytes += freshWeight * (Math.abs(offBytes) - known.deviationBytes);
    known.seenAtMs = nowMs;
  }

  /**
   * Unique bytes that change in so long a stretch, rather too many than too few: beyond what was seen the curve goes on straight,
   * and a curve of this kind only bends down. Zero before the first sample.
   */
  bytesIn(stretchMs: number, nowMs: number): number {
    const points = this.points(nowMs);
    const [last, before] = [points.at(-1), points.at(-2)];
    if (last === undefined || before === undefined) return 0;
    const upper = points.findIndex((point) => point.stretchMs >= stretchMs);
    const to = upper === -1 ? last : (points[upper] ?? last);
    const from = upper === -1 ? before : (points[upper - 1] ?? points[0] ?? before);
    if (to.stretchMs === from.stretchMs) return to.uniqueBytes;
    const slope = (to.uniqueBytes - from.uniqueBytes) / (to.stretchMs - from.stretchMs);
    return from.uniqueBytes + slope * (stretchMs - from.stretchMs);
  }

  /** The curve as it is believed now, from nothing in no time on: rising, and bending down only. */
  points(nowMs: number): readonly CurvePoint[] {
    if (this.#points !== null) return this.#points;
    const seen: CurvePoint[] = [{ stretchMs: 0, uniqueBytes: 0 }];
    for (const [index, stretch] of this.#stretches.entries()) {
      if (stretch === null || isForgotten(stretch, index, nowMs)) continue;
      const uniqueBytes = stretch.meanBytes + stretch.deviationBytes;
      seen.push({ stretchMs: lengthOf(index), uniqueBytes });
    }
    this.#points = concave(seen);
    return this.#points;
  }
}

function lengthOf(index: number): number {
  return shortestMs * stretchRatio ** index;
}

function indexOf(elapsedMs: number): number {
  const index = Math.round(Math.log(elapsedMs / shortestMs) / Math.log(stretchRatio));
  return Math.min(stretchesMax - 1, Math.max(0, index));
}

function isForgotten(stretch: Stretch, index: number, nowMs: number): boolean {
  const keptMs = Math.max(forgottenAfterMs, forgottenAfterLengths * lengthOf(index));
  return nowMs - stretch.seenAtMs > keptMs;
}

/** The points that no line between two others passes above, made to rise. */
function concave(points: readonly CurvePoint[]): readonly CurvePoint[] {
  const hull: CurvePoint[] = [];
  let highestBytes = 0;
  for (const { stretchMs, uniqueBytes } of points) {
    highestBytes = Math.max(highestBytes, uniqueBytes);
    const point = { stretchMs, uniqueBytes: highestBytes };
    for (;;) {
      const [last, before] = [hull.at(-1), hull.at(-2)];
      if (last === undefined || before === undefined) break;
      if (slopeOf(before, last) > slopeOf(last, point)) break;
      hull.pop();
    }
    hull.push(point);
  }
  return hull;
}

function slopeOf(from: CurvePoint, to: CurvePoint): number {
  return (to.uniqueBytes - from.uniqueBytes) / (to.stretchMs - from.stretchMs);
}

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

import type { Clock } from "../src/base/clock.ts";

/** A clock that stands still until the world moves it. */
export interface VirtualClock extends Clock {
  /** Moves to the earliest sleeper and wakes it; false when nobody sleeps. */
  advance(): boolean;
  /** Moves on by `durationMs`, waking on the way who is due. */
  advanceBy(durationMs: number): void;
  /** The wall clock jumps by `byMs`, either way; durations are not affected. */
  jump(byMs: number): void;
  sleepers(): number;
}

interface Sleeper {
  readonly dueAtMs: number;
  readonly order: number;
  readonly wake: () => void;
}

/** 2026-01-01T00:00:00Z: what the virtual wall clock starts from. */
export const worldStartMs = 1_767_225_600_000;

export function virtualClock(startMs: number = worldStartMs): VirtualClock {
  let elapsedMs = 0;
  let offsetMs = startMs;
  let order = 0;
  let sleepers: Sleeper[] = [];

  const next = (): Sleeper | undefined =>
    sleepers.reduce<Sleeper | undefined>(
      (first, at) =>
        first === undefined ||
        at.dueAtMs < first.dueAtMs ||
        (at.dueAtMs === first.dueAtMs && at.order < first.order)
          ? at
          : first,
      undefined,
    );
  const wake = (sleeper: Sleeper) => {
    elapsedMs = Math.max(elapsedMs, sleeper.dueAtMs);
    sleepers = sleepers.filter((at) => at !== sleeper);
    sleeper.wake();
  };

  const sleep = (durationMs: number, signal: AbortSignal | undefined) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        sleepers = sleepers.filter((at) => at !== sleeper);
        reject(signal?.reason);
      };
      const sleeper: Sleeper = {
        dueAtMs: elapsedMs + Math.max(0, durationMs),
        order: order++,
        wake: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      sleepers.push(sleeper);
      signal?.addEventListener("abort", onAbort, { once: true });
    });

  return {
    nowMs: () => Math.floor(offsetMs + elapsedMs),
    monotonicMs: () => elapsedMs,
    sleep: (durationMs, options) => sleep(durationMs, options?.signal),
    advance: () => {
      const sleeper = next();
      if (sleeper) wake(sleeper);
      return sleeper !== undefined;
    },
    advanceBy: (durationMs) => {
      const untilMs = elapsedMs + durationMs;
      for (let at = next(); at && at.dueAtMs <= untilMs; at = next()) wake(at);
      elapsedMs = untilMs;
    },
    jump: (byMs) => {
      offsetMs += byMs;
    },
    sleepers: () => sleepers.length,
  };
}

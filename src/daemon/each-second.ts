import type { Clock } from "../base/clock.ts";

const secondMs = 1000;

/**
 * Calls `work` once a second, the first time at once, until disposed. What it throws is a bug of ours: `onFailed` hears of it at once,
 * and the disposal throws it.
 */
export function eachSecond(
  clock: Clock,
  work: () => void,
  onFailed: (error: unknown) => void,
): AsyncDisposable {
  const over = new AbortController();
  const ticking = tick(clock, work, over.signal);
  ticking.catch(onFailed);
  return {
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await ticking;
    },
  };
}

async function tick(clock: Clock, work: () => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    work();
    try {
      await clock.sleep(secondMs, { signal });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

/** Time, passed in everywhere so that the simulator can own it. */
export interface Clock {
  /** Wall clock: milliseconds since 1970-01-01 UTC; may jump either way. */
  nowMs(): number;
  /** Milliseconds from an arbitrary start, with fractions; never goes back. For durations. */
  monotonicMs(): number;
  /** Resolves after `durationMs`; rejects with the signal's reason as soon as it aborts. */
  sleep(durationMs: number, options?: { signal?: AbortSignal }): Promise<void>;
}

/** The machine's clock. */
export function systemClock(): Clock {
  return {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    sleep: (durationMs, options) => sleepOnTimer(durationMs, options?.signal),
  };
}

function sleepOnTimer(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (signal?.aborted) {
    reject(signal.reason);
    return promise;
  }
  const onAbort = () => {
    clearTimeout(timer);
    reject(signal?.reason);
  };
  const timer = setTimeout(() => {
    signal?.removeEventListener("abort", onAbort);
    resolve();
  }, durationMs);
  signal?.addEventListener("abort", onAbort, { once: true });
  return promise;
}

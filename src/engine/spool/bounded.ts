import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/fault.ts";

/** What `work` comes to within `boundMs`, else LINK_STALLED; then what it comes to later is nobody's concern. */
export async function within<Value>(
  boundMs: number,
  what: string,
  clock: Clock,
  work: Promise<Value>,
): Promise<Value> {
  work.catch(() => {}); // It may come to nothing after the bound.
  const over = new AbortController();
  const stalled = clock.sleep(boundMs, { signal: over.signal }).then(
    () => true,
    () => false,
  );
  const isDone = work.then(
    () => false,
    () => false,
  );
  const isStalled = await Promise.race([isDone, stalled]);
  over.abort();
  if (!isStalled) return work;
  throw new Fault("LINK_STALLED", `The vault did not answer within ${boundMs} ms: ${what}.`, {
    boundMs,
  });
}

/** What `work` comes to, or the signal's reason as soon as it aborts. */
export async function unlessAborted<Value>(
  signal: AbortSignal,
  work: Promise<Value>,
): Promise<Value> {
  work.catch(() => {});
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

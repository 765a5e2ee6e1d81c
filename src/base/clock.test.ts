import { expect, it } from "vitest";
import { systemClock } from "./clock.ts";

it("a sleep ends at once with the signal's reason, before or during it", async () => {
  const clock = systemClock();
  const reason = new Error("stop");
  await expect(clock.sleep(60_000, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const stopping = new AbortController();
  const sleeping = clock.sleep(60_000, { signal: stopping.signal });
  stopping.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
});

it("monotonic time does not go back over a sleep", async () => {
  const clock = systemClock();
  const before = clock.monotonicMs();
  await clock.sleep(1);
  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(before);
});

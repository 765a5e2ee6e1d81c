import { expect, test } from "vitest";
import { virtualClock, worldStartMs } from "./clock.ts";

test("time stands still until the world advances it to the earliest sleeper", async () => {
  const clock = virtualClock();
  const woken: string[] = [];
  const late = clock.sleep(50).then(() => woken.push("late"));
  const early = clock.sleep(20).then(() => woken.push("early"));
  await Promise.resolve();
  expect(woken).toEqual([]);
  clock.advance();
  await early;
  expect(woken).toEqual(["early"]);
  expect(clock.monotonicMs()).toBe(20);
  clock.advance();
  await late;
  expect(clock.nowMs()).toBe(worldStartMs + 50);
  expect(clock.advance()).toBe(false);
});

test("a jump of the wall clock moves no duration", () => {
  const clock = virtualClock();
  clock.jump(-3_600_000);
  expect(clock.nowMs()).toBe(worldStartMs - 3_600_000);
  expect(clock.monotonicMs()).toBe(0);
});

test("an aborted sleeper wakes with the signal's reason and is forgotten", async () => {
  const clock = virtualClock();
  const abort = new AbortController();
  const sleeping = clock.sleep(10, { signal: abort.signal });
  abort.abort(new Error("enough"));
  await expect(sleeping).rejects.toThrow("enough");
  expect(clock.sleepers()).toBe(0);
});

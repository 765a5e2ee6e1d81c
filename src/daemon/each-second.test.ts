import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { eachSecond } from "./each-second.ts";

/** A clock whose seconds pass at once. */
const clock = {
  ...systemClock(),
  sleep: async (_: number, options?: { signal?: AbortSignal }) => {
    await new Promise((resolve) => setImmediate(resolve));
    options?.signal?.throwIfAborted();
  },
};

test("a second that fails is heard of at once, and thrown at the end", async () => {
  const failed = Promise.withResolvers<unknown>();
  const bug = new Error("a bug");
  let seconds = 0;
  const work = () => {
    seconds += 1;
    if (seconds === 3) throw bug;
  };
  const ticking = eachSecond(clock, work, failed.resolve);
  expect(await failed.promise).toBe(bug);
  await expect(ticking[Symbol.asyncDispose]()).rejects.toBe(bug);
  expect(seconds).toBe(3);
});

test("nothing is called after the end", async () => {
  let seconds = 0;
  const twice = Promise.withResolvers<void>();
  const work = () => {
    seconds += 1;
    if (seconds === 2) twice.resolve();
  };
  const ticking = eachSecond(clock, work, () => {});
  await twice.promise;
  await ticking[Symbol.asyncDispose]();
  const atEnd = seconds;
  await new Promise((resolve) => setImmediate(resolve));
  expect(seconds).toBe(atEnd);
});

import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { withinStopBound } from "./stop-bound.ts";

/** A clock whose sleeps end when the test says so. */
function heldClock() {
  const bound = Promise.withResolvers<void>();
  const sleep = (_: number, options?: { signal?: AbortSignal }) => {
    options?.signal?.addEventListener("abort", () => bound.reject(options.signal?.reason));
    return bound.promise;
  };
  return { clock: { ...systemClock(), sleep }, pass: () => bound.resolve() };
}

test("a stop that hangs ends the process, and says that nothing is lost", async () => {
  const { clock, pass } = heldClock();
  const stop = new AbortController();
  const notes: string[] = [];
  const exited = Promise.withResolvers<number>();
  const hanging = Promise.withResolvers<void>();
  const log = { note: (_: string, message: string) => void notes.push(message) };
  const options = { clock, signal: stop.signal, log, exit: exited.resolve };
  const work = withinStopBound(options, () => hanging.promise);
  stop.abort();
  pass();
  expect(await exited.promise).toBe(2);
  expect(notes).toEqual(["The stop did not come to its end; nothing sealed is lost."]);
  hanging.resolve();
  await work;
});

test("a stop that comes to its end is left alone, and so is work that ends by itself", async () => {
  const { clock, pass } = heldClock();
  const stop = new AbortController();
  const codes: number[] = [];
  const log = { note: () => {} };
  const options = {
    clock,
    signal: stop.signal,
    log,
    exit: (code: number) => void codes.push(code),
  };
  expect(await withinStopBound(options, async () => 7)).toBe(7);
  const slow = Promise.withResolvers<number>();
  const work = withinStopBound(options, () => slow.promise);
  stop.abort();
  slow.resolve(8);
  expect(await work).toBe(8);
  pass();
  await new Promise((resolve) => setImmediate(resolve));
  expect(codes).toEqual([]);
});

import { expect, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import { ClockWindow } from "./clock-window.ts";

/** A ping over a link whose ways take `thereMs` and `backMs`, between clocks that differ by `offsetMs`. */
function ping(atMs: number, offsetMs: number, thereMs: number, backMs: number) {
  const sentAtMs = Math.floor(1_000_000 + atMs);
  const receivedAtMs = Math.floor(1_000_000 + atMs + thereMs + offsetMs);
  const roundTripMs = thereMs + backMs;
  return {
    sentAtMs,
    receivedAtMs,
    answeredAtMs: receivedAtMs,
    roundTripMs,
    atMs: atMs + roundTripMs,
  };
}

test("the true offset always lies within the error, however lopsided the ways are", () => {
  const prng = seededPrng(4);
  for (let run = 0; run < 200; run += 1) {
    const window = new ClockWindow();
    const offsetMs = prng.below(7_200_000) - 3_600_000 + prng.below(1000) / 1000;
    let atMs = 0;
    for (let count = 0; count < 30; count += 1) {
      atMs += 5000;
      window.add(ping(atMs, offsetMs, prng.below(300) + 0.3, prng.below(300) + 0.2));
      const found = window.comparison(atMs + 600);
      expect(found).not.toBeNull();
      expect(Math.abs(offsetMs - found!.offsetMs)).toBeLessThanOrEqual(found!.errorMs);
    }
  }
});

test("the best round trip of late gives the bound, and grows worse with its age", () => {
  const window = new ClockWindow();
  expect(window.comparison(0)).toBeNull();
  window.add(ping(0, 40, 1, 1));
  expect(window.comparison(2)).toEqual({ offsetMs: 40, errorMs: 3 });
  window.add(ping(5000, 40, 200, 200));
  expect(window.roundTripMs).toBe(2);
  expect(window.comparison(5400)?.errorMs).toBe(8);
  expect(window.comparison(100_000)?.errorMs).toBeGreaterThan(100);
});

test("what a clock said before it jumped is forgotten at the next answer", () => {
  const window = new ClockWindow();
  window.add(ping(0, 0, 1, 1));
  window.add(ping(5000, 3_600_000, 10, 10));
  expect(window.comparison(5020)?.offsetMs).toBeGreaterThan(3_599_000);
});

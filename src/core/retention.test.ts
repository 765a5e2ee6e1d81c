import fc from "fast-check";
import { expect, test } from "vitest";
import type { PointId } from "./ids.ts";
import { oldestRetained, pointsKeptByThinning, type RetainedPoint } from "./retention.ts";

const none = { pointsMax: null, ageMaxMs: null };

function sealedAt(...timesMs: number[]): RetainedPoint[] {
  return timesMs.map((sealedAtMs, index) => ({ id: `${index}` as PointId, sealedAtMs }));
}

test("without limits every point stays", () => {
  const points = sealedAt(1, 2, 3);
  expect(oldestRetained(points, none, 1e12)).toBe(points[0]);
  expect(oldestRetained([], none, 0)).toBeNull();
});

test("count and age both retire, from the oldest end", () => {
  const points = sealedAt(10, 20, 30, 40);
  expect(oldestRetained(points, { ...none, pointsMax: 3 }, 50)).toBe(points[1]);
  expect(oldestRetained(points, { ...none, ageMaxMs: 20 }, 50)).toBe(points[2]);
  expect(oldestRetained(points, { pointsMax: 3, ageMaxMs: 20 }, 50)).toBe(points[2]);
});

test("the newest point stays however old it is", () => {
  const points = sealedAt(10, 20);
  expect(oldestRetained(points, { pointsMax: 1, ageMaxMs: 1 }, 1e12)).toBe(points[1]);
});

test("a point sealed while the clock was ahead shields those after it, not those before", () => {
  const points = sealedAt(10, 5000, 20, 30);
  expect(oldestRetained(points, { ...none, ageMaxMs: 100 }, 1000)).toBe(points[1]);
});

test("thinning keeps one point of each span and all that are young", () => {
  const points = sealedAt(0, 100, 190, 200, 250, 900, 950, 1000);
  const kept = pointsKeptByThinning(points, [{ olderThanMs: 500, everyMs: 100 }], 1000);
  expect(kept.map((point) => point.sealedAtMs)).toEqual([0, 190, 250, 900, 950, 1000]);
});

test("the step that reaches furthest back rules", () => {
  const steps = [
    { olderThanMs: 100, everyMs: 10 },
    { olderThanMs: 500, everyMs: 1000 },
  ];
  const points = sealedAt(1000, 1100, 1200, 1890, 1895, 2000);
  const kept = pointsKeptByThinning(points, steps, 2000);
  expect(kept.map((point) => point.sealedAtMs)).toEqual([1000, 1200, 1895, 2000]);
});

test("thinning twice keeps what thinning once kept, and later thinning keeps a part of it", () => {
  const times = fc.array(fc.nat(10_000), { maxLength: 40 }).map((all) => all.sort((a, b) => a - b));
  const step = fc.record({ olderThanMs: fc.nat(5000), everyMs: fc.integer({ min: 1, max: 2000 }) });
  fc.assert(
    fc.property(times, fc.array(step, { maxLength: 3 }), (timesMs, steps) => {
      const points = sealedAt(...timesMs);
      const once = pointsKeptByThinning(points, steps, 10_000);
      expect(pointsKeptByThinning(once, steps, 10_000)).toEqual(once);
      if (points.length > 0) {
        expect(once[0]).toBe(points[0]);
        expect(once.at(-1)).toBe(points.at(-1));
      }
    }),
  );
});

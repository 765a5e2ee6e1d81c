import fc from "fast-check";
import { expect, test } from "vitest";
import { TIB } from "../base/units.ts";
import { sectorSizeBytes, windowSizeBytes } from "../core/limits.ts";
import { fromBase, fromZeroes, RunIndexBuilder, type Segment } from "./run-index.ts";

const mib = windowSizeBytes;

function indexOf(runs: readonly (readonly [offset: number, length: number, isZero: boolean])[]) {
  const builder = new RunIndexBuilder();
  for (const [entry, [offset, length, isZero]] of runs.entries()) {
    builder.add(entry, offset, length, isZero);
  }
  return builder.build();
}

function plain(segments: Iterable<Segment>): number[][] {
  return [...segments].map((one) => [one.offsetBytes, one.endBytes, one.entry]);
}

test("without entries everything is the base's", () => {
  expect(plain(indexOf([]).segments(512, 4096 * TIB))).toEqual([[512, 4096 * TIB, fromBase]]);
});

test("newer bytes win, also over a part of an older piece", () => {
  const index = indexOf([
    [0, 65_536, false],
    [4096, 512, false],
    [65_024, 1024, true],
  ]);
  expect(plain(index.segments(0, mib))).toEqual([
    [0, 4096, 0],
    [4096, 4608, 1],
    [4608, 65_024, 0],
    [65_024, 66_048, fromZeroes],
    [66_048, mib, fromBase],
  ]);
});

test("a zero run over the largest disk is found at once and newer data shows through", () => {
  const index = indexOf([
    [5 * mib, 4096, false],
    [0, 4096 * TIB, true],
    [4096 * TIB - mib, mib, false],
    [7 * mib + 512, 512, false],
  ]);
  expect(plain(index.segments(0, 4096 * TIB))).toEqual([
    [0, 7 * mib + 512, fromZeroes],
    [7 * mib + 512, 7 * mib + 1024, 3],
    [7 * mib + 1024, 4096 * TIB - mib, fromZeroes],
    [4096 * TIB - mib, 4096 * TIB, 2],
  ]);
});

test("any history reads like an array of sectors", () => {
  const disk = 300 * mib;
  const sectors = disk / sectorSizeBytes;
  const aligned = fc.constantFrom(1, 128, 2048, 2048 * 16);
  const run = fc
    .tuple(fc.nat(sectors - 1), fc.integer({ min: 1, max: sectors }), aligned, fc.boolean())
    .map(([start, length, unit, isZero]): [number, number, boolean] => {
      const from = Math.floor(start / unit) * unit;
      const room = isZero ? sectors - from : Math.min(sectors, 2048 - (from % 2048));
      const rounded = Math.max(1, Math.round(length / unit) * unit);
      const count = Math.min(room, isZero ? rounded : ((rounded - 1) % 2048) + 1);
      return [from * sectorSizeBytes, count * sectorSizeBytes, isZero];
    });
  fc.assert(
    fc.property(
      fc.array(run, { maxLength: 30 }),
      fc.nat(sectors),
      fc.nat(sectors),
      (runs, a, b) => {
        const oracle = new Int32Array(sectors).fill(fromBase);
        for (const [entry, [offset, length, isZero]] of runs.entries()) {
          const from = offset / sectorSizeBytes;
          oracle.fill(isZero ? fromZeroes : entry, from, from + length / sectorSizeBytes);
        }
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const seen = new Int32Array(sectors);
        let at = from * sectorSizeBytes;
        let before: number | null = null;
        for (const segment of indexOf(runs).segments(at, to * sectorSizeBytes)) {
          expect(segment.offsetBytes).toBe(at);
          expect(segment.endBytes).toBeGreaterThan(at);
          expect(segment.entry).not.toBe(before);
          before = segment.entry;
          seen.fill(segment.entry, at / sectorSizeBytes, segment.endBytes / sectorSizeBytes);
          at = segment.endBytes;
        }
        expect(at).toBe(to * sectorSizeBytes);
        expect(
          Buffer.compare(
            Buffer.from(seen.slice(from, to).buffer),
            Buffer.from(oracle.slice(from, to).buffer),
          ),
        ).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

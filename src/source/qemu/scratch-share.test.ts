import fc from "fast-check";
import { expect, test } from "vitest";
import { GIB, MIB, TIB } from "../../base/units.ts";
import {
  scratchHeadroomBytesMax,
  scratchNeedBytes,
  scratchThresholdBytes,
  shareScratch,
} from "./scratch-share.ts";

test("shares stay within cap and need, and leave nothing over that somebody needs", () => {
  const need = fc.integer({ min: 1, max: 10_000 }).map((blocks) => blocks * 65_536);
  const needs = fc.array(need, { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 * GIB }), needs, (capBytes, wanted) => {
      const shares = shareScratch(capBytes, wanted);
      const sum = shares.reduce((total, share) => total + share, 0);
      expect(sum).toBeLessThanOrEqual(capBytes);
      for (const [index, share] of shares.entries()) {
        expect(share).toBeLessThanOrEqual(wanted[index]!);
      }
      const isShort = shares.some((share, index) => share < wanted[index]!);
      if (isShort) expect(capBytes - sum).toBeLessThan(65_536 * wanted.length);
    }),
  );
});

test("a small disk gets all it needs and the large ones divide the rest", () => {
  expect(shareScratch(100 * MIB, [10 * MIB, TIB, TIB])).toEqual([10 * MIB, 45 * MIB, 45 * MIB]);
});

test("an overlay that can hold the whole disk has no threshold, any other one with headroom", () => {
  const need = scratchNeedBytes(GIB);
  expect(need).toBeGreaterThan(GIB);
  expect(scratchThresholdBytes(need, need)).toBeNull();
  expect(scratchThresholdBytes(100 * MIB, need)).toBe(50 * MIB);
  expect(scratchThresholdBytes(10 * GIB, TIB)).toBe(10 * GIB - scratchHeadroomBytesMax);
});

import { expect, it } from "vitest";
import { randomHex, seededPrng, systemPrng } from "./prng.ts";

it("a seed gives the same sequence each time, and another seed another", () => {
  const take = (seed: number) => {
    const prng = seededPrng(seed);
    return Array.from({ length: 8 }, () => prng.below(1_000_000));
  };
  expect(take(7)).toEqual(take(7));
  expect(take(7)).not.toEqual(take(8));
  expect(take(7)).not.toEqual(take(7 + 2 ** 32));
});

it("below stays inside its bound and reaches both ends", () => {
  const prng = seededPrng(1);
  const seen = new Set(Array.from({ length: 400 }, () => prng.below(4)));
  expect([...seen].sort((a, b) => a - b)).toEqual([0, 1, 2, 3]);
});

it("the system's randomness fills more than the 64 KiB that one call may ask for", () => {
  const bytes = new Uint8Array(200_000);
  systemPrng().fill(bytes);
  expect(bytes.subarray(150_000).some((byte) => byte !== 0)).toBe(true);
});

it("hex has two digits a byte", () => {
  expect(randomHex(seededPrng(3), 8)).toMatch(/^[0-9a-f]{16}$/);
});

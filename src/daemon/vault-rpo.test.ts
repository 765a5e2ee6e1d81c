import { expect, test } from "vitest";
import { RpoWindow, vaultRpoOf } from "./vault-rpo.ts";

const instant = { lowerMs: 100_000, upperMs: 100_050, clockErrorMs: null };
/** The vault heard of it just now. */
const at = (nowMs: number) => ({ nowMs, heardAtMs: nowMs });
const aged = { instant, currentAtMs: null, clock: null };

test("RPO counts from the lower bound of the newest instant", () => {
  expect(vaultRpoOf(aged, at(104_500))).toEqual({ seconds: 4.5, errorSeconds: null });
});

test("an idle source is as current as its last confirmation", () => {
  expect(vaultRpoOf({ ...aged, currentAtMs: 103_000 }, at(104_500)).seconds).toBe(1.5);
  expect(vaultRpoOf({ ...aged, currentAtMs: 90_000 }, at(104_500)).seconds).toBe(4.5);
});

test("a source's clock an hour behind or ahead does not change it, and its error is told", () => {
  const hourMs = 3_600_000;
  for (const offsetMs of [hourMs, -hourMs]) {
    const clock = { offsetMs, errorMs: 20 };
    const rpo = vaultRpoOf({ ...aged, clock }, at(104_500 + offsetMs));
    expect(rpo).toEqual({ seconds: 4.5, errorSeconds: 0.02 });
  }
});

test("a source's clock that jumped ahead does not make it less than since the vault heard", () => {
  const ahead = { ...aged, currentAtMs: 100_000 + 3_600_000 };
  expect(vaultRpoOf(ahead, { nowMs: 104_500, heardAtMs: 101_500 }).seconds).toBe(3);
  expect(vaultRpoOf(aged, { nowMs: 99_000, heardAtMs: 99_000 }).seconds).toBe(0);
});

test("quantiles are of the last hour's samples", () => {
  const window = new RpoWindow();
  expect(window.quantiles()).toBeNull();
  for (let value = 100; value >= 1; value -= 1) window.add(value);
  expect(window.quantiles()).toEqual({ p50: 50, p95: 95, p99: 99, windowSeconds: 100 });
  for (let count = 0; count < 3600; count += 1) window.add(7);
  expect(window.quantiles()).toEqual({ p50: 7, p95: 7, p99: 7, windowSeconds: 3600 });
});

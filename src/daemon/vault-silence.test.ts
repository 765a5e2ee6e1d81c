import { expect, test } from "vitest";
import { SilenceWatch, silentAfterMsMin } from "./vault-silence.ts";

const minute = 60_000;

function watch(
  options: { silentAfterMs?: number; gapsMs?: readonly number[]; atMs?: number } = {},
) {
  const { silentAfterMs = null, gapsMs = [], atMs = 0 } = options;
  return new SilenceWatch({ silentAfterMs, gapsMs, atMs });
}

test("silence is told once, and its end once", () => {
  const silence = watch({ silentAfterMs: 10_000 });
  const seen: unknown[] = [];
  for (let atMs = 0; atMs <= 40_000; atMs += 1000) {
    if (atMs === 5000 || atMs === 30_000) silence.spoke(atMs);
    const turned = silence.check(atMs);
    if (turned !== null) seen.push([atMs, turned]);
  }
  expect(seen).toEqual([
    [15_000, "silent"],
    [30_000, "speaking"],
    [40_000, "silent"],
  ]);
});

test("without a configured bound it is three times what usually lies between, a minute at least", () => {
  expect(watch().boundMs).toBe(silentAfterMsMin);
  expect(watch({ gapsMs: [2000, 2000, 2000] }).boundMs).toBe(silentAfterMsMin);
  expect(watch({ gapsMs: [5 * minute, 5 * minute, 90 * minute] }).boundMs).toBe(15 * minute);
  const slowing = watch({ gapsMs: Array.from({ length: 16 }, () => 1000) });
  for (let count = 1; count <= 10; count += 1) slowing.spoke(count * 10 * minute);
  expect(slowing.boundMs).toBe(30 * minute);
});

test("what lay before the first sign, or ended an alarm, is not what usually lies between two", () => {
  const silence = watch();
  silence.spoke(600 * minute);
  expect(silence.boundMs).toBe(silentAfterMsMin);
  expect(silence.check(1200 * minute)).toBe("silent");
  silence.spoke(1200 * minute);
  expect(silence.boundMs).toBe(silentAfterMsMin);
});

test("a start gives the source the whole bound to come back", () => {
  const silence = watch({ silentAfterMs: 10_000, atMs: 1_000_000 });
  expect(silence.check(1_009_999)).toBeNull();
  expect(silence.check(1_010_000)).toBe("silent");
});

test("a long transfer is no silence, one that never ends is", () => {
  const silence = watch({ silentAfterMs: 10_000 });
  let silentAtMs: number | null = null;
  for (let atMs = 0; atMs <= 200_000; atMs += 1000) {
    silence.moved(atMs);
    if (silence.check(atMs) === "silent") silentAtMs = atMs;
  }
  expect(silentAtMs).toBe(100_000);
  const ended = watch({ silentAfterMs: 10_000 });
  ended.moved(50_000);
  expect(ended.check(59_999)).toBeNull();
  expect(ended.check(60_000)).toBe("silent");
});

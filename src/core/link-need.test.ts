import { describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { judgeLink, type LinkDemand, linkNeed } from "./link-need.ts";

/** So many MiB/s, every block but once. */
function demand(mibPerSecond: number, more: Partial<LinkDemand> = {}): LinkDemand {
  const burst = {
    uniqueBytesIn: (seconds: number) => seconds * mibPerSecond * MIB,
    dailyBytes: null,
  };
  return { targetRpoSeconds: 10, burst, sentPerByte: 1, fixedSeconds: 0.1, ...more };
}

/** Writes drawn from a set of 100 MiB. */
const hot = {
  uniqueBytesIn: (seconds: number) => 100 * MIB * (1 - Math.exp(-seconds)),
  dailyBytes: null,
};

describe("what a link needs", () => {
  test("is what changes, plus the wire's and a resync's share", () => {
    const need = linkNeed(demand(10));
    expect(need.burstBytesPerSecond / MIB).toBeCloseTo(10, 0);
    expect(need.bytesPerSecond / MIB).toBeCloseTo(10 * 1.08 * 1.25, 0);
    expect(need.intervalSeconds).toBeLessThan(5);
  });

  test("is less where blocks are written again and again, the less the longer the target", () => {
    const at = (targetRpoSeconds: number) =>
      linkNeed(demand(0, { burst: hot, targetRpoSeconds })).bytesPerSecond;
    expect(at(30)).toBeLessThan(at(10) / 2);
    expect(at(10)).toBeLessThan(linkNeed(demand(100)).bytesPerSecond / 3);
  });

  test("is less by what compression saves", () => {
    const plain = linkNeed(demand(10));
    expect(linkNeed(demand(10, { sentPerByte: 0.5 })).bytesPerSecond).toBeCloseTo(
      plain.bytesPerSecond / 2,
      0,
    );
  });

  test("is the day's average where that is more, and both are shown", () => {
    const burst = { ...demand(1).burst, dailyBytes: 86_400 * 50 * MIB };
    const need = linkNeed(demand(1, { burst }));
    expect(need.averageBytesPerSecond).toBe(50 * MIB);
    expect(need.bytesPerSecond / MIB).toBeCloseTo(50 * 1.3 * 1.08, 5);
    expect(need.formula).toMatch(
      /^bursts: .* wire x 1\.25 resync = .*\/s; average: .* \/ 1 d x 1\.00 x 1\.3 safety/,
    );
  });

  test("leaves a tenth of the target to round trips, and no more than a second to each", () => {
    expect(linkNeed(demand(1)).roundTripSeconds).toBeCloseTo(0.25);
    expect(linkNeed(demand(1, { targetRpoSeconds: 300 })).roundTripSeconds).toBe(1);
  });

  test("no link is enough where the point itself takes longer than the target", () => {
    expect(linkNeed(demand(1, { fixedSeconds: 20 })).bytesPerSecond).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("a link", () => {
  const near = { roundTripSeconds: 0.02 };

  test("that has what is needed is enough", () => {
    const verdict = judgeLink(demand(10), { bytesPerSecond: 20 * MIB, ...near });
    expect(verdict).toMatchObject({ kind: "enough" });
    expect(verdict.rpoSeconds).toBeLessThanOrEqual(10);
  });

  test("that holds the target and no more is tight", () => {
    const verdict = judgeLink(demand(10), { bytesPerSecond: 12 * MIB, ...near });
    expect(verdict).toMatchObject({ kind: "tight" });
    expect(verdict.reason).toContain("no room for a resync");
  });

  test("that carries less than what changes gives no RPO at all, and a hot set one that can be told", () => {
    const slow = { bytesPerSecond: 5 * MIB, ...near };
    const linear = judgeLink(demand(10), slow);
    expect(linear).toMatchObject({ kind: "lesser", rpoSeconds: Number.POSITIVE_INFINITY });
    expect(linear.reason).toContain("pile up");
    const coalescing = judgeLink(demand(0, { burst: hot }), slow);
    expect(coalescing.kind).toBe("lesser");
    // 108 MiB take 21.6 s, twice: one point gathers while the one before it is sent.
    expect(coalescing.rpoSeconds).toBeGreaterThan(43);
    expect(coalescing.rpoSeconds).toBeLessThan(45);
    expect(coalescing.reason).toMatch(/an RPO of 4\d\.\d s is what it gives/);
  });

  test("that is fast and far is lesser for a short target", () => {
    const far = { bytesPerSecond: 1000 * MIB, roundTripSeconds: 0.6 };
    expect(judgeLink(demand(1, { targetRpoSeconds: 2 }), far)).toMatchObject({ kind: "lesser" });
    expect(judgeLink(demand(1, { targetRpoSeconds: 60 }), far)).toMatchObject({ kind: "enough" });
  });
});

import { describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import type { CycleReport } from "./cycle-report.ts";
import type { IntervalDecision } from "./interval.ts";
import {
  type AdaptiveIntervalOptions,
  adaptiveInterval,
  type IntervalChange,
} from "./pace-interval.ts";

/** Plays the engine's loop against the policy: a guest that writes at a rate, a way to the vault that takes its time. */
class Loop {
  readonly changes: IntervalChange[] = [];
  readonly reasons: string[] = [];
  readonly rposMs: number[] = [];
  readonly policy;
  polls = 0;
  bytesPerSecond = 0;
  msPerMib = 10;
  fixedMs = 50;
  via: "direct" | "spool" = "direct";
  nowMs = 1_000_000;
  #dueAtMs = this.nowMs;
  #instantMs = this.nowMs;
  #dirtyBytes = 0;

  constructor(options: Partial<AdaptiveIntervalOptions> = {}) {
    this.policy = adaptiveInterval({
      ...{ targetRpoSeconds: 8, intervalMinSeconds: 0.5, intervalMaxSeconds: 60 },
      onChange: (change) => this.changes.push(change),
      ...options,
    });
  }

  /** Cuts points, or finds that none is needed, for so long. */
  run(forSeconds: number): void {
    const endMs = this.nowMs + forSeconds * 1000;
    while (this.nowMs < endMs) this.#untilCut(this.#cut());
  }

  attachAnew(afterSeconds: number): void {
    this.#pass(afterSeconds * 1000);
    this.#dueAtMs = this.nowMs;
  }

  #cut(): Parameters<typeof this.policy.next>[0]["step"] {
    const dirtyBytes = this.#dirtyBytes;
    this.#dirtyBytes = 0;
    if (dirtyBytes === 0) {
      this.#instantMs = this.#dueAtMs;
      this.#pass(1);
      return { kind: "current" };
    }
    const tookMs = this.fixedMs + (dirtyBytes / MIB) * this.msPerMib;
    this.rposMs.push(this.#dueAtMs + tookMs - this.#instantMs);
    this.#instantMs = this.#dueAtMs;
    this.#pass(tookMs + 5);
    const { via } = this;
    const phasesMs = { forget: 5 };
    const report = { via, dirtyBytes, storedBytes: dirtyBytes, phasesMs } as CycleReport;
    return { kind: "cycle", report };
  }

  #untilCut(ended: Parameters<typeof this.policy.next>[0]["step"]): void {
    let decision: IntervalDecision = this.#next(ended);
    while (decision.action === "poll") {
      this.#pass(decision.waitMs);
      this.polls += 1;
      decision = this.#next({ kind: "polled", dirtyBytes: this.#dirtyBytes });
    }
    this.#pass(decision.waitMs);
    this.#dueAtMs = this.nowMs;
  }

  #next(step: Parameters<typeof this.policy.next>[0]["step"]): IntervalDecision {
    const decision = this.policy.next({ step, dueAtMs: this.#dueAtMs, nowMs: this.nowMs });
    expect(decision.waitMs).toBeGreaterThanOrEqual(0);
    if (decision.reason !== null) this.reasons.push(decision.reason);
    return decision;
  }

  #pass(durationMs: number): void {
    this.nowMs += durationMs;
    this.#dirtyBytes += (durationMs / 1000) * this.bytesPerSecond;
  }
}

describe("an adaptive interval", () => {
  test("holds its target under a steady load, at no shorter an interval than it needs", () => {
    const loop = new Loop();
    loop.bytesPerSecond = 20 * MIB;
    loop.run(300);
    const late = loop.rposMs.slice(20);
    expect(Math.max(...late)).toBeLessThanOrEqual(8000);
    expect(Math.min(...late)).toBeGreaterThan(6000);
    expect(loop.policy.inForce).toMatchObject({ isHeld: true });
  });

  test("looks at what is dirty a bounded number of times in a target", () => {
    const loop = new Loop();
    loop.bytesPerSecond = MIB;
    loop.run(80);
    expect(loop.polls).toBeLessThanOrEqual(16 * 10 + 10);
    expect(loop.polls).toBeGreaterThan(50);
  });

  test("meets a burst out of the quiet before the target is missed", () => {
    const loop = new Loop();
    loop.run(60);
    loop.bytesPerSecond = 5 * MIB;
    loop.run(60);
    loop.rposMs.length = 0;
    loop.bytesPerSecond = 60 * MIB;
    loop.run(60);
    expect(Math.max(...loop.rposMs)).toBeLessThanOrEqual(8000);
    expect(loop.reasons.some((reason) => reason.startsWith("tightened"))).toBe(true);
  });

  test("tells each change with its reason, what it predicts, and what came of the one before", () => {
    const loop = new Loop();
    loop.bytesPerSecond = 5 * MIB;
    loop.run(120);
    const relaxed = loop.changes.at(-1);
    expect(relaxed?.reason).toContain("relaxed");
    expect(relaxed?.before).toMatchObject({ points: expect.any(Number) });
    expect(relaxed?.before.worstRpoSeconds).toBeLessThanOrEqual(8);
    expect(relaxed?.predictedRpoSeconds).toBeLessThanOrEqual(8);
    expect(loop.reasons).toContain(relaxed?.reason);
    expect(loop.policy.inForce.seconds).toBe(relaxed?.intervalSeconds);
  });

  test("says when no interval holds the target, and which target would be held", () => {
    const loop = new Loop();
    loop.bytesPerSecond = 20 * MIB;
    loop.fixedMs = 9000;
    loop.run(300);
    const { inForce } = loop.policy;
    expect(inForce.isHeld).toBe(false);
    expect(inForce.attainableRpoSeconds).toBeGreaterThan(18);
    expect(inForce.attainableRpoSeconds).toBeLessThan(40);
    expect(Math.max(...loop.rposMs.slice(5)) / 1000).toBeLessThan(inForce.attainableRpoSeconds);
  });

  test("what gathered while the engine was away is no change rate", () => {
    const loop = new Loop();
    loop.bytesPerSecond = MIB;
    loop.run(120);
    const before = loop.policy.inForce.seconds;
    loop.bytesPerSecond = 10 * MIB;
    loop.attachAnew(600);
    loop.bytesPerSecond = MIB;
    loop.run(60);
    expect(loop.policy.inForce.seconds).toBe(before);
    expect(loop.policy.inForce.isHeld).toBe(true);
    loop.bytesPerSecond = 40 * MIB;
    loop.run(120);
    // Sending what had gathered took a minute, which the next point felt; the ten minutes before it are nobody's interval.
    const worst = loop.changes.map((change) => change.before.worstRpoSeconds);
    expect(Math.max(...worst)).toBeLessThan(70);
  });

  test("while points wait in the spool the link's own rate tells what can be held", () => {
    const rates: number[] = [];
    const loop = new Loop({
      linkBytesPerSecond: () => {
        rates.push(1);
        return 10 * MIB;
      },
    });
    loop.bytesPerSecond = 20 * MIB;
    loop.msPerMib = 1;
    loop.run(60);
    expect(rates).toEqual([]);
    expect(loop.policy.inForce.isHeld).toBe(true);
    loop.via = "spool";
    loop.run(120);
    expect(rates).not.toEqual([]);
    expect(loop.policy.inForce.isHeld).toBe(false);
  });

  test("a cap on the link is reckoned with before a point has felt it", () => {
    let cap: number | null = null;
    const loop = new Loop({ linkCapBytesPerSecond: () => cap });
    loop.bytesPerSecond = 10 * MIB;
    loop.msPerMib = 1;
    loop.run(120);
    const open = loop.policy.inForce.seconds;
    cap = 20 * MIB;
    loop.run(20);
    expect(loop.policy.inForce.seconds).toBeLessThan(open * 0.8);
  });
});

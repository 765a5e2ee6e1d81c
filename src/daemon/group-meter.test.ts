import { describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { DiskName, GroupName, PointId } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import type { EngineEvent } from "../engine/events.ts";
import { AlarmBook } from "./alarm-book.ts";
import { GroupAlarms } from "./group-alarms.ts";
import { GroupMeter } from "./group-meter.ts";

const group = "erp" as GroupName;
const takenAtMs = Date.parse("2026-11-21T10:00:00Z");
let nowMs = takenAtMs;
const clock = { ...systemClock(), nowMs: () => nowMs };
const point = (overrides: Partial<Point> = {}) =>
  ({
    id: "0123456789abcdef" as PointId,
    sequence: 12,
    instant: { lowerMs: takenAtMs, upperMs: takenAtMs + 3, clockErrorMs: null },
    currentAtMs: null,
    ...overrides,
  }) as Point;
type CycleEvent = Extract<EngineEvent, { type: "cycle" }>;
const cycle = (via: "direct" | "spool", lagSeconds: number | null): CycleEvent => ({
  group,
  type: "cycle",
  report: {
    via,
    lagSeconds,
    dirtyBytes: 100,
    readBytes: 90,
    dataBytes: 80,
    zeroBytes: 20,
    storedBytes: 40,
    phasesMs: { freeze: 30, seal: 20 },
  } as CycleEvent["report"],
});
const fault = new Fault("LINK_STALLED", "nothing moves");

function meterOf(newest: () => Point | null) {
  return new GroupMeter({
    clock,
    acknowledged: newest,
    targetRpoSeconds: () => 15,
    interval: () => ({ seconds: 4, reason: "it is configured" }),
    spool: () => null,
  });
}

describe("the meter", () => {
  test("counts RPO from what is at the vault, never from the spool", () => {
    let newest: Point | null = null;
    const meter = meterOf(() => newest);
    expect(meter.telemetry()).toMatchObject({ rpoSeconds: null, newest: null, way: null });
    newest = point();
    nowMs = takenAtMs + 30_000;
    meter.follow(cycle("spool", null));
    expect(meter.telemetry()).toMatchObject({ rpoSeconds: 30, lagSeconds: null, way: "spool" });
    newest = point({ currentAtMs: takenAtMs + 29_000 });
    expect(meter.rpoSeconds).toBe(1);
  });
  test("never tells an RPO below nothing when the clock went back", () => {
    nowMs = takenAtMs - 3_600_000;
    expect(meterOf(() => point()).rpoSeconds).toBe(0);
  });
  test("adds cycles up, and tells the lag of the newest that reached the vault", () => {
    const meter = meterOf(() => point());
    meter.follow(cycle("direct", 0.5));
    meter.follow(cycle("spool", null));
    meter.follow({ group, type: "late", skipped: 3 });
    expect(meter.telemetry()).toMatchObject({
      lagSeconds: 0.5,
      totals: { points: 2, dirtyBytes: 200, storedBytes: 80, missedIntervals: 3 },
    });
    expect(meter.fixedSeconds).toBe(0.05);
  });
  test("tells how each disk is known, tracked again after the point that ended its sync", () => {
    const meter = meterOf(() => point());
    const disks = [
      { name: "db/data" as DiskName, state: "resync" as const, cause: "its bitmap was lost" },
    ];
    meter.follow({ group, type: "attached", disks, removed: [] });
    expect(meter.disks).toMatchObject([{ state: "resync" }]);
    meter.follow(cycle("direct", 0.5));
    expect(meter.disks).toEqual([{ name: "db/data", state: "tracked", cause: null }]);
  });
  test("quantiles are over time: an hour at one value outweighs one look at another", () => {
    const meter = meterOf(() => point());
    nowMs = takenAtMs + 2_000;
    for (let second = 0; second < 99; second += 1) meter.second();
    nowMs = takenAtMs + 60_000;
    meter.second();
    const { rpoQuantiles } = meter.telemetry();
    expect(rpoQuantiles).toEqual({ p50: 2, p95: 2, p99: 2, windowSeconds: 100 });
  });
});

describe("alarms", () => {
  const book = () => {
    const alarms = new AlarmBook(clock);
    return { alarms, of: new GroupAlarms(group, alarms) };
  };
  const retrying = (attempt: number): EngineEvent => ({
    group,
    type: "retrying",
    fault,
    attempt,
    delaySeconds: 1,
    lagSeconds: null,
  });

  test("a fault that is borne is a warning, one that stays is an alarm, a point ends it", () => {
    const { alarms, of } = book();
    of.follow(retrying(1));
    expect(alarms.list).toMatchObject([{ severity: "warning", code: "LINK_STALLED" }]);
    of.follow(retrying(6));
    expect(alarms.list).toMatchObject([{ severity: "alarm", group: "erp" }]);
    of.follow(cycle("spool", null));
    expect(alarms.list).toEqual([]);
  });
  test("stand since they began, alarms before warnings", () => {
    const { alarms, of } = book();
    nowMs = takenAtMs;
    of.follow({ group, type: "maintenance-failed", fault });
    nowMs += 60_000;
    of.target(20, 15);
    nowMs += 60_000;
    of.target(80, 15);
    expect(alarms.list).toMatchObject([
      { severity: "alarm", code: "TARGET_MISSED", sinceMs: takenAtMs + 60_000 },
      { severity: "warning", sinceMs: takenAtMs },
    ]);
    expect(alarms.list[0]?.cause).toContain("1 min 20 s");
    of.target(3, 15);
    expect(alarms.list).toMatchObject([{ severity: "warning" }]);
  });
  test("a hole and a full spool are told until points arrive again", () => {
    const { alarms, of } = book();
    of.follow({
      group,
      type: "hole",
      points: 2,
      fromSequence: 3,
      toSequence: 4,
      reason: "a file was damaged",
    });
    of.follow({ group, type: "spool-full", fault: new Fault("SPOOL_FULL", "64 GiB of 64 GiB") });
    expect(alarms.list.map(({ code }) => code)).toEqual(["SPOOL_FULL", "SPOOL_CORRUPT"]);
    of.follow(cycle("direct", 1));
    expect(alarms.list).toEqual([]);
  });
  test("of a group that had stopped, or was another's, are over once it goes on", () => {
    const { alarms, of } = book();
    const full = new Fault("SPOOL_FULL", "64 GiB of 64 GiB");
    const goingOn: EngineEvent[] = [
      cycle("direct", 1),
      cycle("spool", null),
      { group, type: "current", point: "00000000000000ff" as PointId, atMs: takenAtMs },
    ];
    for (const event of goingOn) {
      of.follow({ group, type: "stale", fault, paused: [] });
      of.stopped(fault);
      of.follow({ group, type: "spool-full", fault: full });
      expect(alarms.list).toHaveLength(3);
      of.follow(event);
      expect(alarms.list).toEqual([]);
    }
  });
  test("a spool that could not write down what it knows is told until it can", () => {
    const { alarms, of } = book();
    of.follow({ group, type: "spool-state-behind", fault });
    of.follow(cycle("direct", 1));
    expect(alarms.list).toHaveLength(1);
    of.follow(cycle("spool", null));
    expect(alarms.list).toEqual([]);
  });
  test("of one group leave another's alone", () => {
    const { alarms, of } = book();
    new GroupAlarms("mail" as GroupName, alarms).stopped(fault);
    of.follow(cycle("direct", 1));
    expect(alarms.list).toMatchObject([{ group: "mail", code: "LINK_STALLED" }]);
  });
});

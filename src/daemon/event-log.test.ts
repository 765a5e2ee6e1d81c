import { describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { recordedTerminal } from "../cli/terminal.ts";
import type { DiskName, GroupName, MachineName, PointId } from "../core/ids.ts";
import type { EngineEvent } from "../engine/events.ts";
import { jsonEventLog, textEventLog } from "./event-log.ts";

const group = "erp" as GroupName;
const disk = "db/data" as DiskName;
const nowMs = Date.parse("2026-11-21T10:11:12.345Z");
const clock = { ...systemClock(), nowMs: () => nowMs };

const report = {
  point: {
    id: "0123456789abcdef" as PointId,
    sequence: 12,
    consistency: { reached: "crash" },
    notes: ["db/data was resynced by hash."],
  },
  dirtyBytes: 65_536,
  readBytes: 65_536,
  storedBytes: 70_000,
  rpoSeconds: 2.5,
  lagSeconds: 0.1,
  durationSeconds: 0.08,
} as unknown as Extract<EngineEvent, { type: "cycle" }>["report"];

const fault = new Fault("QMP_MISSING", "nobody listens on /run/a", { path: "/run/a" });
const events: readonly EngineEvent[] = [
  { group, type: "state", state: "starting", previous: null },
  {
    group,
    type: "attached",
    disks: [{ name: disk, state: "resync", cause: "The bitmap was removed." }],
    removed: ["A stale export was removed."],
  },
  { group, type: "cycle", report },
  { group, type: "late", skipped: 3 },
  { group, type: "retrying", fault, attempt: 1, delaySeconds: 0.5, lagSeconds: 7 },
  { group, type: "maintenance-failed", fault },
  { group, type: "interval", waitSeconds: 4, reason: "changes gather faster" },
  { group, type: "route", route: "spool", reason: "the link is down" },
  {
    group,
    type: "hole",
    points: 2,
    fromSequence: 3,
    toSequence: 4,
    reason: "a file was damaged",
  },
  { group, type: "clock-skew", isWithinBound: false, offsetMs: 9, errorMs: 1, offsetMaxMs: 5 },
  { group, type: "stale", fault, paused: ["db" as MachineName] },
  { group, type: "state", state: "stopped", previous: "stopping" },
];
const progress = {
  disk,
  kind: "base",
  sizeBytes: 100,
  doneBytes: 50,
  readBytes: 50,
  stagedBytes: 10,
  etaSeconds: 1,
} as const;

test("people get a line with the time for each thing that matters", () => {
  const terminal = recordedTerminal();
  const log = textEventLog(terminal, clock);
  for (const event of events) log.event(event);
  log.note("warn", "The ledger was cut.", { group, lengthBytes: 7 });
  expect(terminal.stderr().trimEnd().split("\n")).toEqual([
    "10:11:12 erp starting",
    "10:11:12 erp A stale export was removed.",
    "10:11:12 erp db/data: The bitmap was removed.",
    "10:11:12 erp sealed #12: 64.0 KiB changed, 64.0 KiB read, 68.4 KiB stored, RPO 2.5 s, took 80 ms",
    "10:11:12 erp db/data was resynced by hash.",
    "10:11:12 erp a cycle took longer than the interval; 3 starts were left out",
    expect.stringMatching(
      /erp QMP_MISSING: nobody listens on \/run\/a — .* \(attempt 2 in 500 ms\)$/,
    ),
    expect.stringMatching(/erp QMP_MISSING: nobody listens/),
    "10:11:12 erp points go into the spool: the link is down",
    "10:11:12 erp 2 points (#3 to #4) were lost from the spool: a file was damaged",
    "10:11:12 erp CLOCK_SKEW: the vault's clock is 9 ms (± 1 ms) from ours, at most 5 ms",
    expect.stringMatching(/erp QMP_MISSING: .*; paused: db$/),
    "10:11:12 warn: The ledger was cut. (group erp, lengthBytes 7)",
  ]);
  expect(terminal.stdout()).toBe("");
});

test("a disk that is read whole is told once, then its progress", () => {
  const terminal = recordedTerminal();
  let monotonicMs = 0;
  const log = textEventLog(terminal, { ...clock, monotonicMs: () => monotonicMs });
  log.event({ group, type: "sync", progress });
  monotonicMs = 11_000;
  log.event({ group, type: "sync", progress: { ...progress, doneBytes: 75 } });
  log.event({ group, type: "sync", progress: { ...progress, doneBytes: 76 } });
  expect(terminal.stderr().trimEnd().split("\n")).toEqual([
    "10:11:12 erp initial sync of db/data",
    expect.stringContaining("75 %, 75 B of 100 B"),
  ]);
});

describe("programs get JSON", () => {
  const lines = (write: (log: ReturnType<typeof jsonEventLog>) => void) => {
    const terminal = recordedTerminal();
    write(jsonEventLog(terminal));
    const text = terminal.stderr().trimEnd();
    return text.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  };

  test("a line for each event, with a constant message and facts as fields", () => {
    const found = lines((log) => {
      for (const event of events) log.event(event);
    });
    expect(found).toHaveLength(events.filter(({ type }) => type !== "interval").length);
    for (const line of found) expect(line).toMatchObject({ group: "erp", msg: expect.any(String) });
    expect(found[2]).toMatchObject({
      level: 30,
      msg: "A point was sealed.",
      point: { sequence: 12, id: "0123456789abcdef" },
      dirtyBytes: 65_536,
      rpoSeconds: 2.5,
    });
    expect(found[4]).toMatchObject({ level: 40, code: "QMP_MISSING", details: { path: "/run/a" } });
  });
  test("and none for every step of a sync", () => {
    const found = lines((log) => {
      log.event({ group, type: "sync", progress });
      log.note("error", "The group stopped.", { group });
    });
    expect(found).toMatchObject([{ level: 50, msg: "The group stopped." }]);
  });
});

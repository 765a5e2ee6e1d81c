import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseWeeklyEntry, parseWeeklyHours } from "./weekly-hours.ts";
import { weeklySchedule } from "./weekly-schedule.ts";

const utc = (text: string) => Date.parse(`${text}Z`);
const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString().slice(0, 16));

function open(lines: readonly string[], timeZone: string | null = "UTC") {
  const entries = lines.map((line) => ({ hours: parseWeeklyHours(line), value: true }));
  return weeklySchedule({ entries, otherwise: false, timeZone });
}

test.each([
  ["mon-fri 08:00-18:00", { days: [0, 1, 2, 3, 4], fromMinute: 480, toMinute: 1080 }],
  ["Sat,SUN", { days: [5, 6], fromMinute: 0, toMinute: 1440 }],
  ["daily 22:00-06:00", { days: [0, 1, 2, 3, 4, 5, 6], fromMinute: 1320, toMinute: 360 }],
  ["  fri-mon,wed   9:30-24:00 ", { days: [0, 2, 4, 5, 6], fromMinute: 570, toMinute: 1440 }],
  ["tue 20:00-00:00", { days: [1], fromMinute: 1200, toMinute: 1440 }],
])("hours are read: %s", (text, hours) => {
  expect(parseWeeklyHours(text)).toEqual(hours);
});

test.each([
  ["", "is no day"],
  ["monday 08:00-18:00", '"monday" is no day'],
  ["mon-tue-wed", "no range of days"],
  ["mon 8-18", '"8" is no time'],
  ["mon 08:00", "no pair of times"],
  ["mon 08:60-09:00", '"08:60" is no time'],
  ["mon 24:01-09:00", '"24:01" is no time'],
  ["mon 24:00-09:00", "begin at 00:00"],
  ["mon 08:00-08:00", "no time at all"],
  ["mon 08:00-09:00 10:00-11:00", "too much"],
])("hours that are none say why: %s", (text, words) => {
  let message = "";
  try {
    parseWeeklyHours(text);
  } catch (error) {
    expect(error).toMatchObject({ code: "CONFIG_INVALID" });
    message = String(error);
  }
  expect(message).toContain(words);
});

test("an entry's last word is its value", () => {
  const parse = (word: string) => (/^[0-9]+$/.test(word) ? Number(word) : null);
  expect(parseWeeklyEntry("mon-fri 08:00-18:00 10", parse)).toEqual({
    hours: parseWeeklyHours("mon-fri 08:00-18:00"),
    value: 10,
  });
  expect(() => parseWeeklyEntry("mon 08:00-18:00", parse)).toThrow('"08:00-18:00" is no value');
  expect(() => parseWeeklyEntry("10", parse)).toThrow("hours and a value");
});

describe("a schedule", () => {
  test("holds from its first minute to before its last", () => {
    const schedule = open(["mon-fri 08:00-18:00"]);
    // 2026-11-23 is a Monday.
    expect(schedule.valueAt(utc("2026-11-23T07:59:59.999"))).toBe(false);
    expect(schedule.valueAt(utc("2026-11-23T08:00"))).toBe(true);
    expect(schedule.valueAt(utc("2026-11-23T17:59:59.999"))).toBe(true);
    expect(schedule.valueAt(utc("2026-11-23T18:00"))).toBe(false);
    expect(schedule.valueAt(utc("2026-11-22T12:00"))).toBe(false);
    expect(iso(schedule.nextChangeMs(utc("2026-11-23T12:34:56")))).toBe("2026-11-23T18:00");
    expect(iso(schedule.nextChangeMs(utc("2026-11-27T18:00")))).toBe("2026-11-30T08:00");
  });

  test("hours beyond midnight belong to the day on which they began", () => {
    const schedule = open(["fri 22:00-06:00"]);
    expect(schedule.valueAt(utc("2026-11-27T23:00"))).toBe(true);
    expect(schedule.valueAt(utc("2026-11-28T05:59"))).toBe(true);
    expect(schedule.valueAt(utc("2026-11-28T23:00"))).toBe(false);
    expect(schedule.valueAt(utc("2026-11-27T05:00"))).toBe(false);
    const sunday = open(["sun 22:00-06:00"]);
    expect(sunday.valueAt(utc("2026-11-23T05:00"))).toBe(true);
    expect(iso(sunday.nextChangeMs(utc("2026-11-23T05:00")))).toBe("2026-11-23T06:00");
  });

  test("the first entry that fits counts, and none at all is the value outside", () => {
    const entries = [
      { hours: parseWeeklyHours("mon 12:00-13:00"), value: 1 },
      { hours: parseWeeklyHours("mon 08:00-18:00"), value: 2 },
    ];
    const schedule = weeklySchedule<number | null>({ entries, otherwise: null, timeZone: "UTC" });
    expect(schedule.valueAt(utc("2026-11-23T12:30"))).toBe(1);
    expect(schedule.valueAt(utc("2026-11-23T13:00"))).toBe(2);
    expect(schedule.valueAt(utc("2026-11-23T18:00"))).toBeNull();
    const none = weeklySchedule({ entries: [], otherwise: 7, timeZone: "UTC" });
    expect(none.valueAt(0)).toBe(7);
    expect(none.nextChangeMs(0)).toBeNull();
    expect(open(["daily"]).nextChangeMs(utc("2026-11-23T12:30"))).toBeNull();
  });

  test("a value of null in the hours is not the value outside", () => {
    const entries = [{ hours: parseWeeklyHours("mon"), value: null }];
    const schedule = weeklySchedule<number | null>({ entries, otherwise: 5, timeZone: "UTC" });
    expect(schedule.valueAt(utc("2026-11-23T12:30"))).toBeNull();
  });

  test("when clocks go forward, hours that do not exist are not there", () => {
    // Berlin, 2026-03-29 (a Sunday): 02:00 is 03:00.
    const missing = open(["sun 02:00-03:00"], "Europe/Berlin");
    expect(iso(missing.nextChangeMs(utc("2026-03-28T12:00")))).toBe("2026-04-05T00:00");
    const late = open(["sun 02:30-05:00"], "Europe/Berlin");
    expect(iso(late.nextChangeMs(utc("2026-03-29T00:10")))).toBe("2026-03-29T01:00");
    expect(iso(late.nextChangeMs(utc("2026-03-29T01:00")))).toBe("2026-03-29T03:00");
  });

  test("when clocks go back, hours that come twice count twice", () => {
    // Berlin, 2026-10-25 (a Sunday): 03:00 is 02:00.
    const twice = open(["sun 02:00-02:30"], "Europe/Berlin");
    const changes: (string | null)[] = [];
    let atMs: number | null = utc("2026-10-24T12:00");
    for (let change = 0; change < 4 && atMs !== null; change += 1) {
      atMs = twice.nextChangeMs(atMs);
      changes.push(iso(atMs));
    }
    expect(changes).toEqual([
      "2026-10-25T00:00",
      "2026-10-25T00:30",
      "2026-10-25T01:00",
      "2026-10-25T01:30",
    ]);
  });

  test("a zone with a shift of half an hour changes where it changes", () => {
    // Lord Howe Island, 2026-04-05: 02:00 becomes 01:30 at 15:00 UTC on the 4th.
    const schedule = open(["sun 01:45-02:00"], "Australia/Lord_Howe");
    expect(iso(schedule.nextChangeMs(utc("2026-04-04T14:00")))).toBe("2026-04-04T14:45");
    expect(iso(schedule.nextChangeMs(utc("2026-04-04T14:45")))).toBe("2026-04-04T15:00");
    expect(iso(schedule.nextChangeMs(utc("2026-04-04T15:00")))).toBe("2026-04-04T15:15");
  });

  test("the host's own zone is what its clock shows", () => {
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const atMs = utc("2026-07-01T12:00");
    const lines = ["daily 00:00-12:00", "mon-wed 13:00-17:00"];
    for (let hour = 0; hour < 168; hour += 1) {
      const ms = atMs + hour * 3_600_000;
      expect(open(lines, null).valueAt(ms)).toBe(open(lines, own).valueAt(ms));
    }
  });
});

test("the next change is the first minute with another value, whatever the schedule and zone", () => {
  const day = fc.constantFrom("mon", "tue", "wed", "thu", "fri", "sat", "sun");
  const time = fc
    .tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 59 }))
    .map(([hour, minute]) => `${hour}:${String(minute).padStart(2, "0")}`);
  const line = fc
    .tuple(day, day, time, time)
    .filter(([, , from, to]) => from !== to)
    .map(([first, last, from, to]) => `${first}-${last} ${from}-${to}`);
  const zone = fc.constantFrom("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe");
  const start = fc.integer({ min: utc("2026-03-01T00:00"), max: utc("2026-11-30T00:00") });
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 3 }), zone, start, (lines, name, ms) => {
      const schedule = open(lines, name);
      const changeMs = schedule.nextChangeMs(ms);
      const now = schedule.valueAt(ms);
      const firstMinute = Math.floor(ms / 60_000) + 1;
      // A stretch is looked at minute by minute: the whole way would take too long.
      const lookMinutes = 600;
      for (let minute = firstMinute; minute < firstMinute + lookMinutes; minute += 1) {
        if (schedule.valueAt(minute * 60_000) === now) continue;
        expect(changeMs).toBe(minute * 60_000);
        return;
      }
      expect(changeMs ?? Number.POSITIVE_INFINITY).toBeGreaterThan(
        (firstMinute + lookMinutes - 1) * 60_000,
      );
    }),
    { numRuns: 60 },
  );
});

import { Fault } from "../base/fault.ts";

/** 0 is Monday, 6 Sunday. */
export type Weekday = 0 | 1 | 2 | 3 | 4 | 5 | 6;

/** Hours of the week, on the clock on the wall: from `fromMinute` to before `toMinute`, on the days on which they begin. */
export interface WeeklyHours {
  readonly days: readonly Weekday[];
  /** Minutes since midnight, 0 to 1439. */
  readonly fromMinute: number;
  /** 1 to 1440; smaller than `fromMinute` when it is the next day's. Never equal to it. */
  readonly toMinute: number;
}

/** Minutes from one midnight to the next, as the clock on the wall shows them. */
export const minutesPerDay = 1440;

const dayNames = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
const allDays: readonly Weekday[] = [0, 1, 2, 3, 4, 5, 6];

/**
 * Reads "mon-fri 08:00-18:00", "sat,sun", "daily 22:00-06:00", "fri-mon,wed 09:00-24:00". Without times the whole day; beyond midnight
 * the hours belong to the day on which they began. CONFIG_INVALID says what is wrong.
 */
export function parseWeeklyHours(text: string): WeeklyHours {
  const [days = "", times = "00:00-24:00", ...rest] = text.trim().toLowerCase().split(/\s+/);
  if (rest.length > 0) throw invalid(text, `"${rest.join(" ")}" is too much`);
  return { days: readDays(text, days), ...readTimes(text, times) };
}

/** Reads hours and, as the last word, what holds in them: "mon-fri 08:00-18:00 10MiB". `parseValue` gives null for no value of its kind. */
export function parseWeeklyEntry<Value>(
  text: string,
  parseValue: (word: string) => Value | null,
): { readonly hours: WeeklyHours; readonly value: Value } {
  const words = text.trim().split(/\s+/);
  const last = words.pop() ?? "";
  if (words.length === 0) throw invalid(text, "hours and a value are wanted");
  const value = parseValue(last);
  if (value === null) throw invalid(text, `"${last}" is no value`);
  return { hours: parseWeeklyHours(words.join(" ")), value };
}

function readDays(text: string, list: string): readonly Weekday[] {
  if (list === "daily") return allDays;
  const days = new Set<Weekday>();
  for (const part of list.split(",")) {
    const [first, last = first, ...rest] = part.split("-").map((name) => dayOf(text, name));
    if (first === undefined || last === undefined || rest.length > 0) {
      throw invalid(text, `"${part}" is no range of days`);
    }
    for (let day = first; ; day = next(day)) {
      days.add(day);
      if (day === last) break;
    }
  }
  return allDays.filter((day) => days.has(day));
}

function dayOf(text: string, name: string): Weekday {
  const day = allDays.find((number) => dayNames[number] === name);
  if (day !== undefined) return day;
  throw invalid(text, `"${name}" is no day; days are ${dayNames.join(", ")}, or "daily"`);
}

/** The day after. */
export function next(day: Weekday): Weekday {
  return allDays[day + 1] ?? 0;
}

function readTimes(text: string, times: string) {
  const [from, to, ...rest] = times.split("-");
  if (from === undefined || to === undefined || rest.length > 0) {
    throw invalid(text, `"${times}" is no pair of times like 08:00-18:00`);
  }
  const fromMinute = minuteOf(text, from);
  const toMinute = minuteOf(text, to);
  if (fromMinute === minutesPerDay) throw invalid(text, "24:00 only ends hours; begin at 00:00");
  if (fromMinute === toMinute) {
    throw invalid(
      text,
      `from ${from} to ${to} is no time at all; leave both out for the whole day`,
    );
  }
  // Midnight at the end of the day, however it is written.
  return { fromMinute, toMinute: toMinute === 0 ? minutesPerDay : toMinute };
}

function minuteOf(text: string, time: string): number {
  const [, hours, minutes] = /^([0-9]{1,2}):([0-9]{2})$/.exec(time) ?? [];
  const minute = Number(hours) * 60 + Number(minutes);
  if (Number(minutes) < 60 && minute <= minutesPerDay) return minute;
  throw invalid(text, `"${time}" is no time between 00:00 and 24:00`);
}

function invalid(text: string, what: string): Fault {
  return new Fault("CONFIG_INVALID", `"${text.slice(0, 80)}": ${what}`, {
    text: text.slice(0, 80),
  });
}

import { minutesPerDay, next, type Weekday, type WeeklyHours } from "./weekly-hours.ts";

/** What holds in some hours of the week. */
export interface WeeklyEntry<Value> {
  readonly hours: WeeklyHours;
  readonly value: Value;
}

/**
 * A value for every moment of the week, by the clock on the wall. The first entry that fits counts; outside all of them
 * `otherwise` holds. When clocks go forward, hours that do not exist that day are not there; when they go back, those that
 * come twice count twice.
 */
export interface WeeklySchedule<Value> {
  valueAt(wallMs: number): Value;
  /** The next full minute with another value; null when there is none within eight days. */
  nextChangeMs(wallMs: number): number | null;
}

const minuteMs = 60_000;
/** Zones change at quarters of an hour (UTC), entries at minutes: looking at both misses no change. */
const quarterMs = 15 * minuteMs;
/** A week and a day: within a week of changed clocks, everything comes by once. */
const horizonMs = 8 * 86_400_000;

/** Makes a schedule. `timeZone`: an IANA name, or null for the host's own. RangeError for a name that Intl does not know. */
export function weeklySchedule<Value>(options: {
  readonly entries: readonly WeeklyEntry<Value>[];
  readonly otherwise: Value;
  readonly timeZone?: string | null;
}): WeeklySchedule<Value> {
  const { entries, otherwise } = options;
  const local = localTimeOf(options.timeZone ?? null);
  const edges = [...new Set(entries.flatMap(({ hours }) => [hours.fromMinute, hours.toMinute]))];
  const valueAt = (wallMs: number): Value => {
    const { day, minute } = local(wallMs);
    const entry = entries.find(({ hours }) => isWithin(hours, day, minute));
    return entry === undefined ? otherwise : entry.value;
  };
  return {
    valueAt,
    nextChangeMs(wallMs) {
      if (entries.length === 0) return null;
      const now = valueAt(wallMs);
      let atMs = Math.floor(wallMs / minuteMs) * minuteMs;
      const endMs = atMs + horizonMs;
      while (atMs < endMs) {
        const { minute } = local(atMs);
        const toEdge = Math.min(...edges.map((edge) => minutesUntil(edge, minute)));
        const toQuarterMs = quarterMs - (((atMs % quarterMs) + quarterMs) % quarterMs);
        atMs += Math.min(toEdge * minuteMs, toQuarterMs);
        if (!Object.is(valueAt(atMs), now)) return atMs;
      }
      return null;
    },
  };
}

function isWithin(hours: WeeklyHours, day: Weekday, minute: number): boolean {
  const { days, fromMinute, toMinute } = hours;
  if (fromMinute < toMinute) return days.includes(day) && minute >= fromMinute && minute < toMinute;
  if (minute >= fromMinute) return days.includes(day);
  return minute < toMinute && days.some((began) => next(began) === day);
}

/** From 1 to a day. */
function minutesUntil(edge: number, minute: number): number {
  const away = (edge - minute + minutesPerDay) % minutesPerDay;
  return away === 0 ? minutesPerDay : away;
}

type LocalTime = (wallMs: number) => { readonly day: Weekday; readonly minute: number };

function localTimeOf(timeZone: string | null): LocalTime {
  if (timeZone === null) {
    return (wallMs) => {
      const date = new Date(wallMs);
      return { day: weekdayOf(date.getDay()), minute: date.getHours() * 60 + date.getMinutes() };
    };
  }
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    weekday: "short",
    hour: "numeric",
    minute: "numeric",
  });
  return (wallMs) => {
    const parts = new Map(format.formatToParts(wallMs).map(({ type, value }) => [type, value]));
    const sinceSunday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    return {
      day: weekdayOf(sinceSunday.indexOf(parts.get("weekday") ?? "")),
      minute: Number(parts.get("hour")) * 60 + Number(parts.get("minute")),
    };
  };
}

/** JavaScript's weeks begin on Sunday. */
function weekdayOf(sinceSunday: number): Weekday {
  const days: readonly Weekday[] = [6, 0, 1, 2, 3, 4, 5];
  const day = days[sinceSunday];
  if (day === undefined) throw new RangeError(`there is no day ${sinceSunday} of the week`);
  return day;
}

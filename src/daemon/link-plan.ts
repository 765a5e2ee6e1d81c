import type { Config } from "../cli/config-schema.ts";
import { parseScheduledRate } from "../cli/config-values.ts";
import type { GroupName } from "../core/ids.ts";
import { parseWeeklyEntry, parseWeeklyHours } from "../core/weekly-hours.ts";
import { type WeeklySchedule, weeklySchedule } from "../core/weekly-schedule.ts";
import type { Opening } from "../engine/run-options.ts";
import type { LinkCaps } from "../transport/link.ts";

type Caps = Pick<Config["link"], "bytesPerSecondMax" | "schedule">;

/** Looked at again after so long when no change lies ahead. */
const farMs = 86_400_000;

/** What may be sent at any moment of the week. */
export interface LinkPlan {
  capsAt(wallMs: number): LinkCaps;
}

/** The plan of a configuration, which was checked. */
export function linkPlan(config: Config): LinkPlan {
  const link = scheduleOf(config.link);
  const groups = config.groups.flatMap(({ name, link: caps }) =>
    caps === undefined ? [] : [{ name, schedule: scheduleOf(caps) }],
  );
  return {
    capsAt: (wallMs) => ({
      link: link.valueAt(wallMs),
      groups: new Map(
        groups.flatMap(({ name, schedule }): [GroupName, number][] => {
          const cap = schedule.valueAt(wallMs);
          return cap === null ? [] : [[name, cap]];
        }),
      ),
    }),
  };
}

/** Whether two moments' caps are the same. */
export function areSameCaps(one: LinkCaps, other: LinkCaps): boolean {
  if (one.link !== other.link || one.groups.size !== other.groups.size) return false;
  return [...one.groups].every(([name, cap]) => other.groups.get(name) === cap);
}

function scheduleOf({ schedule, bytesPerSecondMax }: Caps): WeeklySchedule<number | null> {
  const entries = schedule.map((text) => {
    const { hours, value } = parseWeeklyEntry(text, parseScheduledRate);
    return { hours, value: value === "unlimited" ? null : value };
  });
  return weeklySchedule<number | null>({ entries, otherwise: bytesPerSecondMax });
}

/** When disks may be read whole. */
export function syncOpening(config: Config): (wallMs: number) => Opening {
  const windows = config.sync.windows.map(parseWeeklyHours);
  if (windows.length === 0) return (wallMs) => ({ isOpen: true, untilMs: wallMs + farMs });
  const schedule = weeklySchedule({
    entries: windows.map((hours) => ({ hours, value: true })),
    otherwise: false,
  });
  return (wallMs) => ({
    isOpen: schedule.valueAt(wallMs),
    untilMs: schedule.nextChangeMs(wallMs) ?? wallMs + farMs,
  });
}

import { Fault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import type { Point } from "../core/point.ts";

/** Shorter text is too little of an id to be meant as one. */
const idPrefixLengthMin = 4;
/** What a person may write for a point; stands in the help of every verb that takes one. */
export const pointSelectorHelp =
  "newest, oldest, #12 or 12 (sequence), the first 4 or more digits of an id, or an ISO time (the newest point not after it: any instant from TAKEN to CURRENT UNTIL names that point)";

/** What a selector is matched against. */
export type SelectablePoint = Pick<Point, "id" | "sequence" | "instant">;

/**
 * The point that `selector` names, out of `points`, oldest first. POINT_UNKNOWN when there is none, USAGE when several ids
 * begin so or the text is no selector.
 */
export function selectPoint<Kind extends SelectablePoint>(
  points: readonly Kind[],
  selector: string,
  group: GroupName,
): Kind {
  const found = matching(points, selector, group);
  if (found !== null) return found;
  const message = points.length === 0 ? `${group} has no points yet` : missing(points, selector);
  throw new Fault("POINT_UNKNOWN", message, { group, selector });
}

function matching<Kind extends SelectablePoint>(
  points: readonly Kind[],
  selector: string,
  group: GroupName,
): Kind | null {
  if (selector === "newest") return points.at(-1) ?? null;
  if (selector === "oldest") return points[0] ?? null;
  const sequence = /^(?:#(\d{1,15})|(\d{1,7}))$/.exec(selector);
  if (sequence !== null) {
    const wanted = Number(sequence[1] ?? sequence[2]);
    return points.find((point) => point.sequence === wanted) ?? null;
  }
  if (/^[0-9a-f]{1,16}$/.test(selector) && selector.length >= idPrefixLengthMin) {
    const starting = points.filter((point) => point.id.startsWith(selector));
    if (starting.length > 1) throw ambiguous(selector, starting, group);
    return starting[0] ?? null;
  }
  // The instant's upper bound: a point must not show what came after the time that was asked for.
  const timeMs = parseTime(selector);
  if (timeMs !== null) return points.findLast((point) => point.instant.upperMs <= timeMs) ?? null;
  throw new Fault("USAGE", `"${selector}" names no point; use ${pointSelectorHelp}`, { selector });
}

/** Milliseconds since 1970; a time without a zone is UTC, as everything that commands print. */
function parseTime(text: string): number | null {
  const match =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z| UTC|[+-]\d\d:\d\d)?)?$/.exec(
      text,
    );
  if (match === null) return null;
  const zone = match[3] === undefined || match[3] === " UTC" ? "Z" : match[3];
  const timeMs = Date.parse(`${match[1]}T${match[2] ?? "00:00"}${zone}`);
  return Number.isNaN(timeMs) ? null : timeMs;
}

function missing(points: readonly SelectablePoint[], selector: string): string {
  const [first, last] = [points[0]!, points.at(-1)!];
  const oldest = new Date(first.instant.lowerMs).toISOString();
  const newest = new Date(last.instant.lowerMs).toISOString();
  return `no point "${selector}"; there are ${points.length}, #${first.sequence} (${oldest}) to #${last.sequence} (${newest})`;
}

function ambiguous(selector: string, points: readonly SelectablePoint[], group: GroupName): Fault {
  const ids = points.slice(0, 4).map((point) => point.id);
  const message = `${points.length} points of ${group} begin with "${selector}": ${ids.join(", ")}`;
  return new Fault("USAGE", message, { group, selector });
}

import { judgeLink, type LinkVerdict, linkNeed, type MeasuredLink } from "../core/link-need.ts";
import type { ChangeRecord } from "./assessment.ts";

/** Targets that a link is sized for, in seconds. */
export const targetsSeconds = [1, 2, 5, 10, 15, 30, 60, 300] as const;
/** What a point takes besides its bytes and the link: freezing, sealing; measured on small hosts. */
const fixedSeconds = 0.1;
/** The stretches that still have to hold a target. */
const burstShare = 0.99;
const daySeconds = 86_400;

/** How long points stay, as the configuration says. */
export interface RetentionWish {
  readonly pointsMax: number | null;
  readonly ageSeconds: number | null;
}

/** How much changes in stretches of one length. */
export interface StretchSummary {
  readonly seconds: number;
  readonly count: number;
  readonly meanBytes: number;
  readonly p95Bytes: number;
  readonly p99Bytes: number;
  readonly mostBytes: number;
}

/** What was seen of a machine or a group, in numbers. */
export interface ChangeSummary {
  readonly name: string;
  readonly sizeBytes: number;
  readonly uniqueBytes: number | null;
  /** Of stretches of ten of the shortest; what a link feels. */
  readonly averageBytesPerSecond: number;
  readonly p95BytesPerSecond: number;
  readonly peakBytesPerSecond: number;
  readonly stretches: readonly StretchSummary[];
}

/** What one target asks for. */
export interface TargetSizing {
  readonly targetRpoSeconds: number;
  readonly intervalSeconds: number;
  readonly linkBytesPerSecond: number;
  readonly roundTripSeconds: number;
  readonly formula: string;
  /** Of deltas, not compressed, at that interval. */
  readonly journalBytesPerDay: number;
  /** What the configured retention comes to; null when it does not limit. */
  readonly journalBytes: number | null;
  /** Null where no link was named. */
  readonly verdict: Pick<LinkVerdict, "kind" | "rpoSeconds" | "reason"> | null;
}

/** Puts a record into numbers; `everySeconds` is the stretch that rates are taken from. */
export function summarize(record: ChangeRecord, name: string, everySeconds: number): ChangeSummary {
  const stretches = record.stretches.map(({ seconds, samples }) => ({
    ...{ seconds, count: samples.count, meanBytes: samples.meanBytes },
    p95Bytes: samples.quantileBytes(0.95),
    p99Bytes: samples.quantileBytes(burstShare),
    mostBytes: samples.mostBytes,
  }));
  const rated = stretches.find(({ seconds }) => seconds === everySeconds) ?? stretches.at(-1);
  const perSecond = (bytes: number) => (rated === undefined ? 0 : bytes / rated.seconds);
  return {
    ...{ name, sizeBytes: record.sizeBytes, uniqueBytes: record.uniqueBytes, stretches },
    averageBytesPerSecond: perSecond(rated?.meanBytes ?? 0),
    p95BytesPerSecond: perSecond(rated?.p95Bytes ?? 0),
    peakBytesPerSecond: perSecond(rated?.mostBytes ?? 0),
  };
}

/** What each target that was seen far enough asks for. */
export function sizeTargets(
  { stretches }: ChangeSummary,
  options: { readonly retention: RetentionWish; readonly link: MeasuredLink | null },
): readonly TargetSizing[] {
  const longest = stretches.at(-1)?.seconds ?? 0;
  const mean = curveOf(stretches.map(({ seconds, meanBytes }) => [seconds, meanBytes]));
  const worst = curveOf(stretches.map(({ seconds, p99Bytes }) => [seconds, p99Bytes]));
  const { pointsMax, ageSeconds } = options.retention;
  // A target's interval is about half of it, and beyond what was seen nothing is known.
  return targetsSeconds
    .filter((targetRpoSeconds) => targetRpoSeconds <= 2 * longest)
    .map((targetRpoSeconds) => {
      const demand = { targetRpoSeconds, sentPerByte: 1, fixedSeconds };
      const burst = { uniqueBytesIn: worst, dailyBytes: null };
      const { intervalSeconds } = linkNeed({ ...demand, burst });
      const dailyBytes = (mean(intervalSeconds) / intervalSeconds) * daySeconds;
      const whole = { ...demand, burst: { ...burst, dailyBytes } };
      const need = linkNeed(whole);
      const verdict = options.link === null ? null : judgeLink(whole, options.link);
      const kept = [
        ...(pointsMax === null ? [] : [pointsMax * mean(intervalSeconds)]),
        ...(ageSeconds === null ? [] : [(ageSeconds / daySeconds) * dailyBytes]),
      ];
      return {
        ...{ targetRpoSeconds, intervalSeconds, formula: need.formula },
        linkBytesPerSecond: need.bytesPerSecond,
        roundTripSeconds: need.roundTripSeconds,
        journalBytesPerDay: dailyBytes,
        journalBytes: kept.length === 0 ? null : Math.min(...kept),
        verdict:
          verdict === null
            ? null
            : { kind: verdict.kind, rpoSeconds: verdict.rpoSeconds, reason: verdict.reason },
      };
    });
}

/** Bytes as a function of seconds: straight between what was seen, from nothing, beyond the last as steep as before it; never falling. */
function curveOf(seen: readonly (readonly [number, number])[]): (seconds: number) => number {
  let most = 0;
  const points = [[0, 0] as const, ...seen].map(([seconds, bytes]) => {
    most = Math.max(most, bytes);
    return [seconds, most] as const;
  });
  return (seconds) => {
    if (points.length < 2) return 0;
    const beyond = points.findIndex(([at]) => at >= seconds);
    const upper = beyond === -1 ? points.length - 1 : Math.max(1, beyond);
    const [fromSeconds, fromBytes] = points[upper - 1] ?? [0, 0];
    const [toSeconds, toBytes] = points[upper] ?? [0, 0];
    const slope = (toBytes - fromBytes) / (toSeconds - fromSeconds);
    return fromBytes + slope * (seconds - fromSeconds);
  };
}

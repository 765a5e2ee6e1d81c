import type { Alarm } from "../control/telemetry.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { Labels, Sample } from "../http/metrics.ts";
import type { VaultGroup } from "./vault-group.ts";

type GroupState = WriterState["groups"][number];

/** What a scrape of a serving vault tells, made anew for each. */
export function vaultMetrics(options: {
  readonly version: string;
  readonly nowMs: number;
  readonly groups: readonly { readonly group: VaultGroup; readonly state: GroupState }[];
  readonly alarms: readonly Alarm[];
}): readonly Sample[] {
  const { version, nowMs, groups, alarms } = options;
  const about = { version, role: "vault" };
  return [
    { name: "build_info", labels: about, value: 1 },
    ...groups.flatMap(({ group, state }) => samplesOf(group, state, nowMs)),
    ...alarms.map(({ code, group, severity }): Sample => {
      const labels: Labels = { code, group: group ?? "", severity };
      return { name: "alarms", labels, value: 1 };
    }),
  ];
}

function samplesOf(group: VaultGroup, { custody, state }: GroupState, nowMs: number): Sample[] {
  const labels = { group: group.name };
  const samples: Sample[] = [];
  const add = (name: Sample["name"], value: number | null | undefined) => {
    if (value !== null && value !== undefined) samples.push({ name, labels, value });
  };
  samples.push({ name: "state", labels: { ...labels, state }, value: 1 });
  if (custody === undefined) return samples;
  const points = group.journal.points();
  const head = points.at(-1);
  const { rpoSeconds, rpoErrorSeconds, clock, lastHeardAtMs } = custody;
  // The bound is added: what is shown is never better than it is.
  add("rpo_seconds", rpoSeconds === null ? null : rpoSeconds + (rpoErrorSeconds ?? 0));
  if (head !== undefined) {
    const takenAtMs = head.instant.lowerMs;
    const lagMs = head.sealedAtMs - takenAtMs - (head.clock?.offsetMs ?? 0);
    add("last_point_timestamp_seconds", takenAtMs / 1000);
    add("lag_seconds", Math.max(0, lagMs) / 1000);
    add("journal_history_seconds", (takenAtMs - points[0]!.instant.lowerMs) / 1000);
  }
  add("journal_points", points.length);
  add("clock_offset_seconds", clock === null ? null : clock.offsetMs / 1000);
  add("clock_error_seconds", clock === null ? null : clock.errorMs / 1000);
  add("journal_used_bytes", custody.bytes.journal);
  add("base_used_bytes", custody.bytes.base);
  const verified = points.flatMap(({ verifiedAtMs }) => verifiedAtMs ?? []);
  if (verified.length > 0) {
    const newest = verified.reduce((latest, atMs) => Math.max(latest, atMs));
    add("verified_age_seconds", Math.max(0, nowMs - newest) / 1000);
  }
  add("source_silent", custody.silentSinceMs === null ? 0 : 1);
  if (lastHeardAtMs !== null) {
    add("source_heard_age_seconds", Math.max(0, nowMs - lastHeardAtMs) / 1000);
  }
  return samples;
}

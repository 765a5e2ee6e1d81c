import type { GroupName } from "../core/ids.ts";
import type { EngineEvent } from "../engine/events.ts";
import type { ReadsOutlook } from "../engine/pace-reads.ts";
import type { Spool } from "../engine/spool/spool.ts";
import type { MetricName } from "../http/metric-table.ts";
import { type Labels, Metrics, type Sample } from "../http/metrics.ts";
import type { ReplicatorIdentity } from "../tls/replicator-identity.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { GroupMeter } from "./group-meter.ts";
import type { ReplicatorLink } from "./replicator-link.ts";

const trackerStates = ["tracked", "initial-sync", "resync"] as const;

/** A group that is measured. */
export interface MeteredGroup {
  readonly name: GroupName;
  readonly meter: GroupMeter;
  readonly state: { readonly state: string };
  readonly reads: ReadsOutlook;
}

/** What a replicator tells at `/metrics`. */
export class ReplicatorMetrics {
  readonly metrics: Metrics;

  constructor(options: {
    version: string;
    role: "up" | "replicator";
    groups: readonly MeteredGroup[];
    alarms: AlarmBook;
    /** Of a replicator. */
    site?: { link: ReplicatorLink; identity: ReplicatorIdentity; spool: Spool };
  }) {
    const { version, role, groups, alarms, site } = options;
    const read = async () => [
      sample("build_info", { version, role }, 1),
      ...groups.flatMap(groupSamples),
      ...(site === undefined ? [] : siteSamples(site)),
      ...alarms.list.map(({ code, severity, group }) =>
        sample("alarms", { code, severity, group: group ?? "" }, 1),
      ),
    ];
    this.metrics = new Metrics({ side: "replicator", read });
  }

  /** Enters how long the phases of a cycle took. */
  follow(event: EngineEvent): void {
    if (event.type !== "cycle") return;
    const { group, report } = event;
    const enter = (phase: string, seconds: number) =>
      this.metrics.observe("cycle_duration_seconds", { group, phase }, seconds);
    for (const [phase, durationMs] of Object.entries(report.phasesMs)) {
      enter(phase, durationMs / 1000);
    }
    enter("whole", report.durationSeconds);
  }
}

function groupSamples({ name, meter, state, reads }: MeteredGroup): readonly Sample[] {
  const labels = { group: name };
  const told = meter.telemetry();
  const { totals } = told;
  return [
    ...known("rpo_seconds", labels, told.rpoSeconds),
    ...known("rpo_target_seconds", labels, told.targetRpoSeconds),
    ...known("lag_seconds", labels, told.lagSeconds),
    ...known("eta_seconds", labels, told.etaSeconds),
    ...known("dirty_bytes", labels, meter.dirtyBytes),
    ...known(
      "guest_write_latency_seconds",
      labels,
      reads.latencyMs === null ? null : reads.latencyMs / 1000,
    ),
    ...known(
      "last_point_timestamp_seconds",
      labels,
      told.newest === null ? null : told.newest.takenAtMs / 1000,
    ),
    sample("backlog_bytes", labels, told.backlog.bytes),
    sample("backlog_points", labels, told.backlog.points),
    sample("interval_seconds", labels, told.interval.seconds),
    sample("missed_intervals_total", labels, totals.missedIntervals),
    sample("points_total", labels, totals.points),
    sample("read_bytes_total", labels, totals.readBytes),
    sample("data_bytes_total", labels, totals.dataBytes),
    sample("compressed_bytes_total", labels, totals.storedBytes),
    sample("zero_bytes_total", labels, totals.zeroBytes),
    sample("state", { group: name, state: state.state }, 1),
    ...meter.disks.flatMap((disk) =>
      trackerStates.map((one) =>
        sample(
          "tracker_state",
          { group: name, disk: disk.name, state: one },
          one === disk.state ? 1 : 0,
        ),
      ),
    ),
  ];
}

function siteSamples(site: {
  readonly link: ReplicatorLink;
  readonly identity: ReplicatorIdentity;
  readonly spool: Spool;
}): readonly Sample[] {
  const { identity, spool } = site;
  const { state } = site.link;
  const { roundTripMs, clock } = state;
  return [
    sample("certificate_expiry_timestamp_seconds", {}, identity.notAfterMs / 1000),
    sample("spool_used_bytes", {}, spool.usedBytes),
    sample("spool_cap_bytes", {}, spool.capBytes),
    sample("link_up", {}, state.isUp ? 1 : 0),
    ...known("link_round_trip_seconds", {}, roundTripMs === null ? null : roundTripMs / 1000),
    ...known("link_bytes_per_second", {}, state.bytesPerSecond),
    ...known("link_bytes_per_second_max", {}, state.bytesPerSecondMax),
    sample("sent_bytes_total", {}, state.sentBytes),
    sample("received_bytes_total", {}, state.receivedBytes),
    sample("resent_bytes_total", {}, state.resentBytes),
    ...known("clock_offset_seconds", {}, clock === null ? null : clock.offsetMs / 1000),
    ...known("clock_error_seconds", {}, clock === null ? null : clock.errorMs / 1000),
  ];
}

function sample(name: MetricName, labels: Labels, value: number): Sample {
  return { name, labels, value };
}

function known(name: MetricName, labels: Labels, value: number | null): readonly Sample[] {
  return value === null ? [] : [{ name, labels, value }];
}

/** Where a metric is told. */
export type MetricSide = "replicator" | "vault";

/** What a metric is; the documentation is made of these. */
export interface MetricEntry {
  readonly kind: "gauge" | "counter" | "histogram";
  /** What it means, one sentence with its unit. */
  readonly help: string;
  readonly labels: readonly string[];
  /** `replicator` is also `afterimage up`, as far as it has the thing. */
  readonly sides: readonly MetricSide[];
}

const both = ["replicator", "vault"] as const;
const replicator = ["replicator"] as const;
const vault = ["vault"] as const;
const group = ["group"] as const;

/** Every metric by its name without the prefix. Units stand in the names; counters end in `_total`. */
export const metricTable = {
  build_info: {
    kind: "gauge",
    help: "Always 1; the labels say which program this is.",
    labels: ["version", "role"],
    sides: both,
  },
  // -- how old the newest point is
  rpo_seconds: {
    kind: "gauge",
    help: "Seconds of work that a loss of the source would cost now, counted from what is at the vault; at the vault in its own clock with the clock bound added. Not there before the first point.",
    labels: group,
    sides: both,
  },
  rpo_target_seconds: {
    kind: "gauge",
    help: "What rpo_seconds is to stay under, in seconds; not there when an interval is configured instead.",
    labels: group,
    sides: replicator,
  },
  last_point_timestamp_seconds: {
    kind: "gauge",
    help: "When the newest point at the vault was taken, seconds since 1970 on the taker's clock, the lower bound of its instant.",
    labels: group,
    sides: both,
  },
  lag_seconds: {
    kind: "gauge",
    help: "How old the newest point was when the vault acknowledged it, in seconds.",
    labels: group,
    sides: both,
  },
  backlog_bytes: {
    kind: "gauge",
    help: "Bytes of points that were cut and are not yet at the vault.",
    labels: group,
    sides: replicator,
  },
  backlog_points: {
    kind: "gauge",
    help: "Points that were cut and are not yet at the vault.",
    labels: group,
    sides: replicator,
  },
  eta_seconds: {
    kind: "gauge",
    help: "Seconds until the backlog is at the vault, or the disk that is read whole is read, at the rate of late; not there when there is nothing to wait for.",
    labels: group,
    sides: replicator,
  },
  interval_seconds: {
    kind: "gauge",
    help: "Seconds from the start of one cycle to the start of the next, as chosen now.",
    labels: group,
    sides: replicator,
  },
  missed_intervals_total: {
    kind: "counter",
    help: "Starts of cycles left out because the one before took longer than the interval.",
    labels: group,
    sides: replicator,
  },
  points_total: {
    kind: "counter",
    help: "Points sealed since the process started.",
    labels: group,
    sides: replicator,
  },
  state: {
    kind: "gauge",
    help: "1 for the state the group is in (starting, syncing, waiting-for-link, replicating, retrying, stopping, stopped); the others are not there.",
    labels: ["group", "state"],
    sides: both,
  },
  tracker_state: {
    kind: "gauge",
    help: "1 for how the disk's changes are known: `tracked` by a bitmap, or read whole in `initial-sync` or `resync`; 0 for the others.",
    labels: ["group", "disk", "state"],
    sides: replicator,
  },
  // -- what cycles cost
  cycle_duration_seconds: {
    kind: "histogram",
    help: "Seconds that the cycles took in each phase; phase `whole` is all of it.",
    labels: ["group", "phase"],
    sides: replicator,
  },
  dirty_bytes: {
    kind: "gauge",
    help: "Bytes that had changed at the newest point, in whole 64 KiB blocks.",
    labels: group,
    sides: replicator,
  },
  read_bytes_total: {
    kind: "counter",
    help: "Bytes read from the source for points.",
    labels: group,
    sides: replicator,
  },
  data_bytes_total: {
    kind: "counter",
    help: "Bytes of data in sealed points, before compression.",
    labels: group,
    sides: replicator,
  },
  compressed_bytes_total: {
    kind: "counter",
    help: "Bytes of the sealed points' files, after compression, bookkeeping included.",
    labels: group,
    sides: replicator,
  },
  zero_bytes_total: {
    kind: "counter",
    help: "Bytes that became zero, which cost no payload.",
    labels: group,
    sides: replicator,
  },
  // -- the link
  link_up: {
    kind: "gauge",
    help: "1 while the link to the vault is up, else 0.",
    labels: [],
    sides: replicator,
  },
  link_round_trip_seconds: {
    kind: "gauge",
    help: "Smallest round trip of late, in seconds.",
    labels: [],
    sides: replicator,
  },
  link_bytes_per_second: {
    kind: "gauge",
    help: "Bytes acknowledged a second of late while there was more to send.",
    labels: [],
    sides: replicator,
  },
  link_bytes_per_second_max: {
    kind: "gauge",
    help: "The cap that holds now, in bytes a second; not there without one.",
    labels: [],
    sides: replicator,
  },
  sent_bytes_total: {
    kind: "counter",
    help: "Bytes put on the wire, encryption included.",
    labels: [],
    sides: replicator,
  },
  received_bytes_total: {
    kind: "counter",
    help: "Bytes that came over the wire, encryption included.",
    labels: [],
    sides: replicator,
  },
  resent_bytes_total: {
    kind: "counter",
    help: "Bytes sent again because a connection ended before they were acknowledged.",
    labels: [],
    sides: replicator,
  },
  clock_offset_seconds: {
    kind: "gauge",
    help: "The vault's clock minus the replicator's, in seconds; at the vault as kept with the group's newest point, where `group` is set.",
    labels: group,
    sides: both,
  },
  clock_error_seconds: {
    kind: "gauge",
    help: "The true offset lies within clock_offset_seconds plus or minus this, in seconds.",
    labels: group,
    sides: both,
  },
  certificate_expiry_timestamp_seconds: {
    kind: "gauge",
    help: "When this side's certificate ends, seconds since 1970; it is renewed long before.",
    labels: [],
    sides: replicator,
  },
  // -- the spool
  spool_used_bytes: {
    kind: "gauge",
    help: "Bytes that the spool takes now, all groups together.",
    labels: [],
    sides: replicator,
  },
  spool_cap_bytes: {
    kind: "gauge",
    help: "Bytes that the spool may take.",
    labels: [],
    sides: replicator,
  },
  guest_write_latency_seconds: {
    kind: "gauge",
    help: "What a write of the guests took on average while we last read, in seconds, as QEMU counts it; not there before that was measured.",
    labels: group,
    sides: replicator,
  },
  // -- the vault
  journal_used_bytes: {
    kind: "gauge",
    help: "Bytes that the group's points take on the vault's file system, as stored.",
    labels: group,
    sides: vault,
  },
  base_used_bytes: {
    kind: "gauge",
    help: "Bytes that the group's base takes on the vault's file system; the base is never compressed.",
    labels: group,
    sides: vault,
  },
  journal_history_seconds: {
    kind: "gauge",
    help: "Seconds between the oldest and the newest point that can be opened.",
    labels: group,
    sides: vault,
  },
  journal_points: {
    kind: "gauge",
    help: "Points that can be opened.",
    labels: group,
    sides: vault,
  },
  verified_age_seconds: {
    kind: "gauge",
    help: "Seconds since a point of the group was last hashed and found good; not there before the first time.",
    labels: group,
    sides: vault,
  },
  source_silent: {
    kind: "gauge",
    help: "1 when the vault hears nothing of the group for longer than its bound, else 0: the dead man's alarm.",
    labels: group,
    sides: vault,
  },
  source_heard_age_seconds: {
    kind: "gauge",
    help: "Seconds since the vault last heard of the group.",
    labels: group,
    sides: vault,
  },
  alarms: {
    kind: "gauge",
    help: "1 for each alarm that stands; the code is one of the fault table's, `group` is empty when it is about the whole process.",
    labels: ["code", "group", "severity"],
    sides: both,
  },
} as const satisfies Readonly<Record<string, MetricEntry>>;

/** A metric's name without the prefix. */
export type MetricName = keyof typeof metricTable;

/** All names begin so. */
export const metricPrefix = "afterimage_";

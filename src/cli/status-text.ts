import { formatBytes, formatSeconds } from "../base/units.ts";
import type { Alarm, GroupTelemetry, LinkState } from "../control/telemetry.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { AskedState } from "./ask-state.ts";
import type { ReplicatorStatus } from "./status-replicator.ts";
import type { GroupStatus, VaultStatus } from "./status-vault.ts";
import { type Column, formatInstant, formatTable } from "./table.ts";

const right = (title: string): Column => ({ title, align: "right" });
const orDash = <Value>(value: Value | null | undefined, format: (value: Value) => string) =>
  value === null || value === undefined ? "-" : format(value);

/** A vault's status for people: what needs a person first. */
export function vaultText({ vault, writer, alarms, groups }: VaultStatus): string {
  const head = `Vault ${vault.id} in ${vault.directory}; ${whoWrites(writer)}.`;
  const lines = [head, ...alarms.map(alarmText)];
  if (groups.length === 0) {
    const next = "`afterimage up CONFIG` makes them, or a replicator that ships to this vault";
    return [...lines, `No groups yet: ${next}.`].join("\n");
  }
  const told = groups.flatMap((group) => {
    const { name, telemetry } = group;
    return telemetry === null ? [] : telemetryLines(name, telemetry);
  });
  const isAlarmed = (name: string) => alarms.some((alarm) => alarm.group === name);
  const troubles = groups
    .filter(({ name, trouble }) => trouble !== null && !isAlarmed(name))
    .map(({ name, trouble }) => `! ${name}: ${trouble}`);
  return [...lines, groupTable(groups), ...told, ...troubles].join("\n");
}

function groupTable(groups: readonly GroupStatus[]): string {
  const columns = [
    { title: "GROUP" },
    { title: "STATE" },
    right("POINTS"),
    { title: "NEWEST" },
    { title: "CURRENT UNTIL" },
    right("RPO"),
    right("P50/P95/P99"),
    right("ON THE WIRE"),
    right("JOURNAL"),
    right("BASE"),
    { title: "FROM" },
  ];
  return formatTable(
    columns,
    groups.map((group) => [
      group.name,
      group.state,
      String(group.points),
      orDash(group.newest?.takenAtMs, formatInstant),
      orDash(group.newest?.currentAtMs, formatInstant),
      rpoText(group.rpoSeconds, group.rpoErrorSeconds),
      quantilesText(group.custody?.rpoQuantiles ?? group.telemetry?.rpoQuantiles ?? null),
      orDash(group.custody?.bytes.wire, formatBytes),
      formatBytes(group.journalBytes),
      formatBytes(group.baseBytes),
      fromText(group),
    ]),
  );
}

/** Who has a connection open for the group, or who may. */
function fromText({ custody, telemetry }: GroupStatus): string {
  if (custody === null) return telemetry === null ? "-" : "this host";
  if (custody.peer !== null) return `${custody.peer.name} (${custody.peer.address})`;
  const holder = custody.generation?.holder ?? custody.generation?.holderId;
  return holder === undefined ? "-" : `${holder}, not connected`;
}

/** A replicator's status for people: what needs a person first. */
export function replicatorText({ replicator, process, alarms }: ReplicatorStatus): string {
  const { name, vaultId, addresses, directory } = replicator;
  const vault = `vault ${vaultId} (${addresses.join(", ")})`;
  const head = `Replicator ${name} in ${directory}, of ${vault}`;
  if (process === null) {
    return `${head}; it does not run.\n! nothing is replicated: start \`afterimage replicator serve CONFIG\``;
  }
  if (process === "silent") {
    return `${head}; it runs and gives no answer.\n! look at its log`;
  }
  return [
    `${head}; process ${process.pid}, since ${formatInstant(process.startedAtMs)}.`,
    ...alarms.map(alarmText),
    ...(process.link === undefined ? [] : [linkText(process.link)]),
    telemetryTable(process.groups),
    ...process.groups.flatMap(({ name: group, telemetry }) =>
      telemetry === undefined ? [] : telemetryLines(group, telemetry),
    ),
    ...process.groups
      .filter(({ name: group, trouble }) => trouble !== null && !isTold(alarms, group))
      .map(({ name: group, trouble }) => `! ${group}: ${trouble}`),
  ].join("\n");
}

function isTold(alarms: readonly Alarm[], group: string): boolean {
  return alarms.some((alarm) => alarm.group === group);
}

function telemetryTable(groups: WriterState["groups"]): string {
  const columns = [
    { title: "GROUP" },
    { title: "STATE" },
    right("NEWEST"),
    right("RPO"),
    right("TARGET"),
    right("P50/P95/P99"),
    right("LAG"),
    { title: "BACKLOG", align: "right" as const },
    right("ETA"),
    { title: "WAY" },
    right("COMPRESSED TO"),
  ];
  const rows = groups.map(({ name, state, telemetry }) => {
    if (telemetry === undefined) return [name, state];
    const { newest, backlog, totals } = telemetry;
    const waits = `${formatBytes(backlog.bytes)} in ${backlog.points}`;
    return [
      name,
      state,
      orDash(newest, ({ sequence }) => `#${sequence}`),
      rpoText(telemetry.rpoSeconds, null),
      orDash(telemetry.targetRpoSeconds, formatSeconds),
      quantilesText(telemetry.rpoQuantiles),
      orDash(telemetry.lagSeconds, formatSeconds),
      backlog.points === 0 ? "none" : waits,
      orDash(telemetry.etaSeconds, formatSeconds),
      telemetry.way ?? "-",
      totals.dataBytes === 0
        ? "-"
        : `${Math.round((100 * totals.storedBytes) / totals.dataBytes)} %`,
    ];
  });
  return formatTable(columns, rows);
}

function telemetryLines(name: string, telemetry: GroupTelemetry): readonly string[] {
  const { interval, sync } = telemetry;
  const lines = [`${name}: a point each ${formatSeconds(interval.seconds)}: ${interval.reason}`];
  if (sync !== null) {
    const { kind, disk, doneBytes, sizeBytes } = sync;
    const eta = orDash(telemetry.etaSeconds, (seconds) => `, ${formatSeconds(seconds)} to go`);
    const done = `${formatBytes(doneBytes)} of ${formatBytes(sizeBytes)}`;
    lines.push(`${name}: ${kind} of ${disk}: ${done}${eta === "-" ? "" : eta}`);
  }
  return lines;
}

function linkText(link: LinkState): string {
  const { clock, bytesPerSecond, bytesPerSecondMax } = link;
  const cap = orDash(bytesPerSecondMax, (cap) => `cap ${formatBytes(cap)}/s`);
  const facts = [
    `${link.isUp ? "up" : "DOWN"} for ${formatSeconds(link.sinceSeconds)}`,
    `round trip ${orDash(link.roundTripMs, (ms) => `${ms.toFixed(1)} ms`)}`,
    bytesPerSecond === null ? "rate not known yet" : `${formatBytes(bytesPerSecond)}/s of late`,
    cap === "-" ? "no cap" : cap,
    `clocks ${orDash(clock, ({ offsetMs, errorMs }) => `${offsetMs} ms ± ${errorMs} ms apart`)}`,
    `on the wire: ${formatBytes(link.sentBytes)} sent, ${formatBytes(link.receivedBytes)} received, ${formatBytes(link.resentBytes)} again`,
  ];
  return `Link to ${link.address}: ${facts.join("; ")}`;
}

function alarmText({ severity, group, code, cause, nextStep, sinceMs }: Alarm): string {
  const about = group === null ? "" : `${group}: `;
  const mark = severity === "alarm" ? "ALARM  " : "warning";
  return `${mark} ${about}${code}: ${cause} (since ${formatInstant(sinceMs)})\n        → ${nextStep}`;
}

function rpoText(seconds: number | null, errorSeconds: number | null): string {
  if (seconds === null) return "-";
  const error = errorSeconds === null ? "" : ` ± ${formatSeconds(errorSeconds)}`;
  return `${formatSeconds(seconds)}${error}`;
}

function quantilesText(quantiles: GroupTelemetry["rpoQuantiles"]): string {
  if (quantiles === null) return "-";
  return [quantiles.p50, quantiles.p95, quantiles.p99].map(formatSeconds).join(" / ");
}

function whoWrites(writer: AskedState): string {
  if (writer === null) return "nobody writes";
  if (writer === "silent") return "somebody writes";
  if (writer.vault !== undefined)
    return `process ${writer.pid} serves it at ${writer.vault.listen}`;
  return `process ${writer.pid} writes`;
}

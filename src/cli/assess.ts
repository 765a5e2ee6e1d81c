import { type Command, InvalidArgumentError } from "commander";
import { formatBytes, formatSeconds } from "../base/units.ts";
import { drawPointId } from "../core/ids.ts";
import type { MeasuredLink } from "../core/link-need.ts";
import { type Assessment, assess } from "../insight/assessment.ts";
import {
  type ChangeSummary,
  sizeTargets,
  summarize,
  type TargetSizing,
} from "../insight/sizing.ts";
import { qemuChangeCounter } from "../source/qemu/change-counter.ts";
import { diskNameOf } from "../source/qemu/disk-place.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { readConfig } from "./config.ts";
import { qemuMachinesOf } from "./config-qemu.ts";
import type { Config, ConfigGroup } from "./config-schema.ts";
import { parseDuration, parseSize } from "./config-values.ts";
import { verbCommand } from "./program.ts";
import { type Progress, startProgress } from "./progress.ts";
import { type Column, formatTable } from "./table.ts";

const forSecondsMax = 31 * 86_400;
const everySecondsMin = 1;
const everySecondsMax = 600;
const roundTripSecondsDefault = 0.02;
const bitsPerByte = 8;

interface AssessOptions extends CommonOptions {
  readonly for: number;
  readonly every: number;
  readonly link?: number;
  readonly roundTrip: number;
}

/** What was seen of one group and what follows from it, as it is told. */
interface GroupReport {
  readonly name: string;
  readonly seconds: number;
  readonly looks: number;
  readonly incompleteLooks: number;
  readonly removed: readonly string[];
  readonly group: ChangeSummary;
  readonly machines: readonly ChangeSummary[];
  readonly targets: readonly TargetSizing[];
}

/** `afterimage assess CONFIG` */
export function assessVerb(context: CommandContext): Command {
  return verbCommand(
    "assess",
    "watch how much changes, without reading or sending anything, and size link and journal",
    "afterimage assess /etc/afterimage.yaml --for 24h --link 100Mbit",
  )
    .argument("<config>", "the configuration, a YAML file (docs/operating/config.md)")
    .option("--for <duration>", "how long to watch", seconds(1, forSecondsMax), 86_400)
    .option(
      "--every <duration>",
      "rates are those of stretches of this length; the shortest seen is a tenth of it",
      seconds(everySecondsMin, everySecondsMax),
      10,
    )
    .option("--link <rate>", 'judge a link that carries this: "100Mbit", "10MiB"', rate)
    .option(
      "--round-trip <duration>",
      "and answers after this",
      seconds(0, 10),
      roundTripSecondsDefault,
    )
    .addHelpText(
      "after",
      "\nEach disk gets four bitmaps of ours in QEMU's memory, gone at the end. Beside a running replicator it needs a QMP socket of its own. SIGINT ends it early: what was seen is told.",
    )
    .action((config: string, options: AssessOptions) => runAssessment(context, config, options));
}

async function runAssessment(
  context: CommandContext,
  path: string,
  options: AssessOptions,
): Promise<void> {
  const config = await readConfig(context.files, absolutePath(path));
  const link: MeasuredLink | null =
    options.link === undefined
      ? null
      : { bytesPerSecond: options.link, roundTripSeconds: options.roundTrip };
  const reports: GroupReport[] = [];
  {
    using progress = startProgress(context.terminal, context.clock);
    progress.step("watching");
    const watching = config.groups.map((group) =>
      watch(context, { config, group, options, progress }),
    );
    for (const [index, seen] of (await Promise.all(watching)).entries()) {
      const group = config.groups[index];
      if (group) reports.push(reportOf(seen, { config, group, options, link }));
    }
  }
  printResult(context, options, {
    json: { everySeconds: options.every, link, groups: reports },
    text: reports.map((report) => describe(report, options)).join("\n\n"),
  });
}

async function watch(
  context: CommandContext,
  parts: {
    readonly config: Config;
    readonly group: ConfigGroup;
    readonly options: AssessOptions;
    readonly progress: Progress;
  },
): Promise<Assessment> {
  const { config, group, options, progress } = parts;
  const { clock, files, prng, signal } = context;
  const machines = qemuMachinesOf(group);
  const { directory, capBytes } = config.scratch;
  await using counter = qemuChangeCounter(
    { group: group.name, machines, scratch: { directory, capBytes }, clock, files },
    drawPointId(prng),
  );
  return await assess({
    counter,
    machines: machines.map(({ name }) => name),
    disks: machines.flatMap((machine) => machine.disks.map((disk) => diskNameOf(machine, disk))),
    ...{ forSeconds: options.for, everySeconds: options.every, clock, signal },
    onLook: (elapsedSeconds) =>
      progress.update({ done: Math.round(elapsedSeconds), total: options.for, unit: "items" }),
  });
}

function reportOf(
  seen: Assessment,
  given: {
    readonly config: Config;
    readonly group: ConfigGroup;
    readonly options: AssessOptions;
    readonly link: MeasuredLink | null;
  },
): GroupReport {
  const { config, group, options, link } = given;
  const { seconds: watchedSeconds, looks, incompleteLooks, removed } = seen;
  const whole = summarize(seen.group, group.name, options.every);
  const retention = group.retention ?? config.retention;
  return {
    ...{ name: group.name, seconds: watchedSeconds, looks, incompleteLooks, removed },
    group: whole,
    machines: seen.machines.map((record) =>
      summarize(record, `${group.name}/${record.machine ?? ""}`, options.every),
    ),
    targets: sizeTargets(whole, { retention, link }),
  };
}

const right = (title: string): Column => ({ title, align: "right" });
const perSecond = (bytes: number) => `${formatBytes(bytes)}/s`;
const megabits = (bytes: number) => `${((bytes * bitsPerByte) / 1e6).toFixed(1)} Mbit/s`;

function describe(report: GroupReport, options: AssessOptions): string {
  const { name, looks, incompleteLooks, removed } = report;
  const incomplete = incompleteLooks === 0 ? "" : `, ${incompleteLooks} of them incomplete`;
  const head = `${name}: watched for ${formatSeconds(report.seconds)}, ${looks} looks${incomplete}`;
  const retained = report.targets.some(({ journalBytes }) => journalBytes !== null);
  const rates = formatTable(
    [
      { title: "what" },
      right("size"),
      right("average"),
      right("p95"),
      right("peak"),
      right("unique"),
    ],
    [...report.machines, { ...report.group, name: `${name} (all)` }].map((summary) => [
      summary.name,
      formatBytes(summary.sizeBytes),
      perSecond(summary.averageBytesPerSecond),
      perSecond(summary.p95BytesPerSecond),
      perSecond(summary.peakBytesPerSecond),
      summary.uniqueBytes === null ? "not known" : formatBytes(summary.uniqueBytes),
    ]),
  );
  const curve = formatTable(
    [right("in"), right("average"), right("p95"), right("p99"), right("most"), right("seen")],
    report.group.stretches.map((stretch) => [
      formatSeconds(stretch.seconds),
      ...[stretch.meanBytes, stretch.p95Bytes, stretch.p99Bytes, stretch.mostBytes].map(
        formatBytes,
      ),
      String(stretch.count),
    ]),
  );
  const targets = formatTable(
    [
      ...[right("target RPO"), right("interval"), right("link"), right("round trip")],
      ...[right("journal a day"), ...(retained ? [right("journal kept")] : [])],
      ...(options.link === undefined ? [] : [{ title: "the link named" }]),
    ],
    report.targets.map((target) => [
      formatSeconds(target.targetRpoSeconds),
      formatSeconds(target.intervalSeconds),
      megabits(target.linkBytesPerSecond),
      formatSeconds(target.roundTripSeconds),
      formatBytes(target.journalBytesPerDay),
      ...(retained ? [formatBytes(target.journalBytes ?? 0)] : []),
      verdictOf(target),
    ]),
  );
  return [
    ...[head, ...removed.map((what) => `removed what an earlier assessment left: ${what}`)],
    ...["", `Changed, by stretches of ${formatSeconds(options.every)}:`, rates],
    ...["", "Unique bytes changed in a stretch of time (blocks written again count once):", curve],
    ...["", "What a target needs (not compressed; formulas with --json):", targets],
  ].join("\n");
}

function verdictOf({ verdict }: TargetSizing): string {
  if (verdict === null) return "";
  if (verdict.kind !== "lesser") return verdict.kind;
  if (!Number.isFinite(verdict.rpoSeconds)) return "lesser: changes would pile up";
  return `lesser: RPO ${formatSeconds(verdict.rpoSeconds)}`;
}

function seconds(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = parseDuration(text);
    if (value !== null && value >= min && value <= max) return value;
    throw new InvalidArgumentError(
      `It is a duration such as "10s", "24h", from ${formatSeconds(min)} to ${formatSeconds(max)}.`,
    );
  };
}

const bitsByUnit: Readonly<Record<string, number>> = { kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** Bytes a second of "100Mbit" or "10MiB". */
function rate(text: string): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmg]bit)$/i.exec(text) ?? [];
  const factor = bitsByUnit[unit.toLowerCase()];
  const value =
    digits === undefined || factor === undefined
      ? parseSize(text)
      : (Number(digits) * factor) / bitsPerByte;
  if (value !== null && value > 0) return value;
  throw new InvalidArgumentError('It is a rate a second, "100Mbit" or "10MiB".');
}

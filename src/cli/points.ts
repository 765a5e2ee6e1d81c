import type { Command } from "commander";
import { formatBytes, formatSeconds } from "../base/units.ts";
import type { Point } from "../core/point.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { formatInstant, formatTable } from "./table.ts";
import { readGroup } from "./vault-access.ts";

/** `afterimage points VAULT GROUP` */
export function pointsVerb(context: CommandContext): Command {
  return verbCommand(
    "points",
    "list the recovery points of a group, oldest first, and until when each shows the source as it was",
    "afterimage points /srv/vault erp",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .action((vault: string, group: string, options: CommonOptions) =>
      runPoints(context, { vault, group }, options),
    );
}

async function runPoints(
  context: CommandContext,
  at: { vault: string; group: string },
  options: CommonOptions,
): Promise<void> {
  const { vault, group, reader } = await readGroup(context, at.vault, at.group);
  await using _vault = vault;
  const points = reader.points();
  printResult(context, options, {
    json: { group, points: points.map(withoutMachines) },
    text: points.length === 0 ? `${group} has no points yet.` : table(points, context),
  });
}

/** Machine definitions are what a boot needs, not what a list shows. */
function withoutMachines({ machines, ...point }: Point) {
  return { ...point, machines: machines.map((machine) => machine.name) };
}

function table(points: readonly Point[], context: CommandContext): string {
  const nowMs = context.clock.nowMs();
  return formatTable(
    [
      { title: "POINT", align: "right" },
      { title: "ID" },
      { title: "TAKEN" },
      { title: "CURRENT UNTIL" },
      { title: "CLOCK", align: "right" },
      { title: "AGE", align: "right" },
      { title: "CONSISTENCY" },
      { title: "CHANGED", align: "right" },
      { title: "STORED", align: "right" },
      { title: "CHECKED" },
      { title: "NOTES" },
    ],
    points.map((point) => [
      `#${point.sequence}`,
      point.id,
      formatInstant(point.instant.lowerMs),
      point.currentAtMs === null ? "-" : formatInstant(point.currentAtMs),
      clockOf(point),
      formatSeconds((nowMs - point.instant.lowerMs) / 1000),
      consistencyOf(point),
      formatBytes(point.cost.dirtyBytes),
      formatBytes(point.cost.storedBytes),
      checksOf(point),
      point.notes.join(" "),
    ]),
  );
}

function consistencyOf(point: Point): string {
  const { reached, isGroupConsistent } = point.consistency;
  return isGroupConsistent ? reached : `${reached}, not one instant`;
}

/** What the vault's clock showed beyond the taker's, which `TAKEN` is by. */
function clockOf({ clock }: Point): string {
  if (clock === null) return "-";
  const sign = clock.offsetMs < 0 ? "" : "+";
  return `${sign}${clock.offsetMs} ± ${clock.errorMs} ms`;
}

function checksOf(point: Point): string {
  const checks = [
    point.verifiedAtMs === null ? null : "verified",
    point.drilledAtMs === null ? null : "drilled",
  ];
  return checks.filter((check) => check !== null).join(", ") || "-";
}

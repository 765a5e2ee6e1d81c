import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import type { GroupName } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import { pointsKeptByThinning, type ThinningStep } from "../core/retention.ts";
import { changeGroup } from "./change-group.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { parseDuration } from "./config-values.ts";
import { selectPoint } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { readGroup } from "./vault-access.ts";

const hourMs = 3_600_000;
/** What is thinned when nothing is said: one point an hour after a day, one a day after a week. */
const defaultSteps: readonly ThinningStep[] = [
  { olderThanMs: 24 * hourMs, everyMs: hourMs },
  { olderThanMs: 7 * 24 * hourMs, everyMs: 24 * hourMs },
];

const resultSchema = z.strictObject({ retired: z.int(), merged: z.int() });

interface ThinOptions extends CommonOptions {
  readonly step: readonly ThinningStep[];
  readonly keep: readonly string[];
  readonly dryRun?: boolean;
}

/** `afterimage thin VAULT GROUP` */
export function thinVerb(context: CommandContext): Command {
  return verbCommand(
    "thin",
    "retire points by age and merge their deltas; the oldest and the newest always stay",
    "afterimage thin /srv/vault erp --step 1h:5min --step 1d:1h",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .option(
      "--step <older:every>",
      "of points older than OLDER one in each EVERY stays; may be given several times (default: 1d:1h, 7d:1d)",
      addStep,
      [],
    )
    .option(
      "--keep <point>",
      "instead of steps: keep only this point (several times) and the newest",
      collect,
      [],
    )
    .option("--dry-run", "show how many points would go and change nothing")
    .action((vault: string, group: string, options: ThinOptions) =>
      runThin(context, { vault, group }, options),
    );
}

async function runThin(
  context: CommandContext,
  at: { vault: string; group: string },
  options: ThinOptions,
): Promise<void> {
  const { vault, group, reader } = await readGroup(context, at.vault, at.group);
  await using _vault = vault;
  const points = reader.points();
  const kept = keptPoints(context, group, points, options);
  if (options.dryRun === true) {
    const retired = points.length - kept.length;
    const text = `${retired} of ${points.length} points would be retired.`;
    printResult(context, options, { json: { group, retired, kept: kept.length }, text });
    return;
  }
  using progress = startProgress(context.terminal, context.clock);
  progress.step(`thinning ${group}`);
  const stays = new Set(kept.map(({ id }) => id));
  const retire = points.map(({ id }) => id).filter((id) => !stays.has(id));
  const request = { verb: "thin", group, retire } as const;
  const result = await changeGroup(context, at.vault, request, {
    result: resultSchema,
    onProgress: (done, total) => progress.update({ done, total, unit: "items" }),
  });
  printResult(context, options, {
    json: { group, ...result, kept: kept.length },
    text: `Retired ${result.retired} points, merged ${result.merged} deltas; ${kept.length} points stay.`,
  });
}

function keptPoints(
  context: CommandContext,
  group: GroupName,
  points: readonly Point[],
  { step, keep }: ThinOptions,
): readonly Point[] {
  if (keep.length === 0) {
    const steps = step.length === 0 ? defaultSteps : step;
    return pointsKeptByThinning(points, steps, context.clock.nowMs());
  }
  const named = new Set(keep.map((selector) => selectPoint(points, selector, group).id));
  return points.filter((point) => named.has(point.id) || point === points.at(-1));
}

function addStep(text: string, before: readonly ThinningStep[]): readonly ThinningStep[] {
  const [older, every, ...rest] = text.split(":").map(parseDuration);
  const isStep = older != null && every != null && older >= 0 && every > 0 && rest.length === 0;
  if (isStep) {
    return [...before, { olderThanMs: older * 1000, everyMs: every * 1000 }];
  }
  throw new InvalidArgumentError('It is two durations, for example "1d:1h".');
}

function collect(selector: string, before: readonly string[]): readonly string[] {
  return [...before, selector];
}

import type { Command } from "commander";
import { z } from "zod";
import { formatBytes } from "../base/units.ts";
import { changeGroup } from "./change-group.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { pointSelectorHelp, selectPoint } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { describePoint, readGroup } from "./vault-access.ts";

const resultSchema = z.strictObject({
  retired: z.int(),
  applied: z.int(),
  writtenBytes: z.int(),
});

interface MoveBaseOptions extends CommonOptions {
  readonly to: string;
}

/** `afterimage move-base VAULT GROUP --to P` */
export function moveBaseVerb(context: CommandContext): Command {
  return verbCommand(
    "move-base",
    "retire the points before a point and give their room back",
    "afterimage move-base /srv/vault erp --to 2026-11-20",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .requiredOption("--to <point>", `the oldest point that stays: ${pointSelectorHelp}`)
    .action((vault: string, group: string, options: MoveBaseOptions) =>
      runMoveBase(context, { vault, group }, options),
    );
}

async function runMoveBase(
  context: CommandContext,
  at: { vault: string; group: string },
  options: MoveBaseOptions,
): Promise<void> {
  const { vault, group, reader } = await readGroup(context, at.vault, at.group);
  await using _vault = vault;
  const point = selectPoint(reader.points(), options.to, group);
  using progress = startProgress(context.terminal, context.clock);
  progress.step(`moving the base of ${group} to #${point.sequence}`);
  const request = { verb: "move-base", group, point: point.id } as const;
  const result = await changeGroup(context, at.vault, request, {
    result: resultSchema,
    onProgress: (done, total) => progress.update({ done, total, unit: "bytes" }),
  });
  const { id, sequence } = point;
  const written = formatBytes(result.writtenBytes);
  printResult(context, options, {
    json: { group, point: { id, sequence }, ...result },
    text: `The base stands at ${describePoint(point)}: ${result.retired} points retired, ${result.applied} deltas applied, ${written} written.`,
  });
}

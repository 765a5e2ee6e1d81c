import type { Command } from "commander";
import { z } from "zod";
import { checkResultOf } from "../control/check-result.ts";
import { changeGroup } from "./change-group.ts";
import { printCheck } from "./check-report.ts";
import type { CommandContext, CommonOptions } from "./command-context.ts";
import { pointSelectorHelp, selectPoint } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { readGroup } from "./vault-access.ts";

interface VerifyOptions extends CommonOptions {
  readonly point?: string;
  readonly record?: boolean;
}

/** `afterimage verify VAULT GROUP [--point P]` */
export function verifyVerb(context: CommandContext): Command {
  return verbCommand(
    "verify",
    "hash everything that points read: base, ledger, every index and chunk; exit code 1 on damage",
    "afterimage verify /srv/vault erp",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .option("--point <point>", `only what this point reads: ${pointSelectorHelp}`)
    .option("--record", "enter in the ledger that the good points were verified")
    .action((vault: string, group: string, options: VerifyOptions) =>
      runVerify(context, { vault, group }, options),
    );
}

async function runVerify(
  context: CommandContext,
  at: { vault: string; group: string },
  options: VerifyOptions,
): Promise<void> {
  const { vault, group, reader } = await readGroup(context, at.vault, at.group);
  await using _vault = vault;
  const { signal } = context;
  const point =
    options.point === undefined ? null : selectPoint(reader.points(), options.point, group);
  using progress = startProgress(context.terminal, context.clock);
  progress.step(`verifying ${group}`);
  const report = await reader.verify({
    signal,
    ...(point === null ? {} : { point: point.id }),
    onProgress: ({ doneBytes, totalBytes }) =>
      progress.update({ done: doneBytes, total: totalBytes, unit: "bytes" }),
  });
  const result = checkResultOf(report);
  if (options.record === true) {
    const points = report.pointsGood.map(({ id }) => id);
    const request = { verb: "record-verified", group, points } as const;
    await changeGroup(context, at.vault, request, { result: z.object({ recorded: z.int() }) });
  }
  printCheck(context, options, group, result);
}

import type { Command } from "commander";
import { MIB } from "../base/units.ts";
import { checkResultSchema } from "../control/check-result.ts";
import { scrubRateMin } from "../control/requests.ts";
import { groupArgument, sizeArgument } from "./arguments.ts";
import { changeGroup } from "./change-group.ts";
import { printCheck } from "./check-report.ts";
import type { CommandContext, CommonOptions } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { readVault } from "./vault-access.ts";

/** Slow enough to leave a disk array to those who replicate, fast enough for 5 TiB a day. */
const defaultRateBytesPerSecond = 64 * MIB;

interface ScrubOptions extends CommonOptions {
  readonly rate?: number;
}

/** `afterimage scrub VAULT GROUP` */
export function scrubVerb(context: CommandContext): Command {
  return verbCommand(
    "scrub",
    "hash everything that points read, slowly, and enter which are verified; goes on where it was stopped",
    "afterimage scrub /srv/vault erp --rate 200MiB",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .option("--rate <size>", "at most so many bytes a second (default: 64MiB)", sizeArgument)
    .action((vault: string, group: string, options: ScrubOptions) =>
      runScrub(context, { vault, group }, options),
    );
}

async function runScrub(
  context: CommandContext,
  at: { vault: string; group: string },
  options: ScrubOptions,
): Promise<void> {
  const group = groupArgument(at.group);
  await using vault = await readVault(context, at.vault);
  await vault.reader(group); // A name that is wrong is told as such, whoever writes.
  const rateBytesPerSecond = Math.max(scrubRateMin, options.rate ?? defaultRateBytesPerSecond);
  using progress = startProgress(context.terminal, context.clock);
  progress.step(`scrubbing ${group}`);
  const request = { verb: "scrub", group, rateBytesPerSecond } as const;
  const result = await changeGroup(context, at.vault, request, {
    result: checkResultSchema,
    onProgress: (done, total) => progress.update({ done, total, unit: "bytes" }),
  });
  printCheck(context, options, group, result);
}

import type { Command } from "commander";
import { initVault } from "../journal/vault.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";

/** `afterimage vault init DIR` */
export function initCommand(context: CommandContext): Command {
  return verbCommand("init", "make an empty vault", "afterimage vault init /srv/vault")
    .argument("<directory>", "an empty directory, or one that is not there yet")
    .action((directory: string, options: CommonOptions) => runInit(context, directory, options));
}

async function runInit(
  context: CommandContext,
  argument: string,
  options: CommonOptions,
): Promise<void> {
  const directory = absolutePath(argument);
  const { files, clock, prng } = context;
  const { id, createdAtMs } = await initVault(files, directory, { clock, prng });
  printResult(context, options, {
    json: { directory, id, createdAtMs },
    text: `Made the vault ${id} in ${directory}.`,
  });
}

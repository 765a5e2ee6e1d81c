import type { Command } from "commander";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { isReplicatorState, replicatorStatus } from "./status-replicator.ts";
import { replicatorText, vaultText } from "./status-text.ts";
import { vaultStatus } from "./status-vault.ts";
import { watch } from "./watch.ts";

interface StatusOptions extends CommonOptions {
  readonly watch?: boolean;
}

/** `afterimage status PLACE` */
export function statusVerb(context: CommandContext): Command {
  return verbCommand(
    "status",
    "show how old the newest points are, what waits, and what needs a person: of a vault or of a replicator",
    "afterimage status /var/lib/afterimage/replicator --watch",
  )
    .argument("<place>", "a vault's directory, or a replicator's state directory")
    .option("--watch", "look again each second until interrupted; with --json one line a second")
    .action((place: string, options: StatusOptions) => runStatus(context, place, options));
}

async function runStatus(
  context: CommandContext,
  argument: string,
  options: StatusOptions,
): Promise<void> {
  const directory = absolutePath(argument);
  const look = async () => {
    if (await isReplicatorState(context.files, directory)) {
      const status = await replicatorStatus(context, directory);
      return { json: status, text: replicatorText(status) };
    }
    const status = await vaultStatus(context, directory);
    return { json: status, text: vaultText(status) };
  };
  if (options.watch === true) await watch(context, options, look);
  else printResult(context, options, await look());
}

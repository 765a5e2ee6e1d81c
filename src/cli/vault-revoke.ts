import type { Command } from "commander";
import { revocationSchema } from "../control/peer-requests.ts";
import { peerNameArgument } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { type VaultOption, vaultDirectoryOf, vaultOption } from "./vault-option.ts";
import { askAboutPeers } from "./vault-peer-access.ts";

interface RevokeOptions extends CommonOptions, VaultOption {}

/** `afterimage vault revoke NAME` */
export function revokeCommand(context: CommandContext): Command {
  return verbCommand(
    "revoke",
    "believe no certificate of a replicator any more, and cut its connections",
    "afterimage vault revoke protected-site",
  )
    .argument("<name>", "the replicator")
    .addOption(vaultOption())
    .addHelpText(
      "after",
      "\nIts points stay, and so does its hold on its groups: `afterimage vault raise` hands a group to another. To let it back in, invite it again.",
    )
    .action(async (name: string, options: RevokeOptions) => {
      const request = { verb: "revoke", name: peerNameArgument(name) } as const;
      const directory = vaultDirectoryOf(options);
      const done = await askAboutPeers(context, directory, request, revocationSchema);
      const { channelsCut } = done;
      const cut = channelsCut === null ? "no server runs" : `${channelsCut} connections were cut`;
      printResult(context, options, { json: done, text: `Revoked ${name}; ${cut}.` });
    });
}

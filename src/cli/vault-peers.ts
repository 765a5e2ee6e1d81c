import type { Command } from "commander";
import { peersSchema } from "../control/peer-requests.ts";
import type { EnrolledPeer } from "../control/vault-state.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { type Column, formatInstant, formatTable } from "./table.ts";
import { type VaultOption, vaultDirectoryOf, vaultOption } from "./vault-option.ts";
import { askAboutPeers } from "./vault-peer-access.ts";

interface PeersOptions extends CommonOptions, VaultOption {}

const columns: readonly Column[] = [
  { title: "NAME" },
  { title: "ID" },
  { title: "STATE" },
  { title: "CONNECTIONS", align: "right" },
  { title: "CERTIFICATE ENDS" },
  { title: "HOLDS" },
];

/** `afterimage vault peers` */
export function peersCommand(context: CommandContext): Command {
  return verbCommand(
    "peers",
    "list the replicators that are, or were, enrolled",
    "afterimage vault peers --vault /srv/vault",
  )
    .addOption(vaultOption())
    .action(async (options: PeersOptions) => {
      const directory = vaultDirectoryOf(options);
      const json = await askAboutPeers(context, directory, { verb: "peers" }, peersSchema);
      const text =
        json.peers.length === 0
          ? "Nobody is enrolled. `afterimage vault invite NAME` makes an invitation."
          : formatTable(columns, json.peers.map(rowOf));
      printResult(context, options, { json, text });
    });
}

function rowOf({ name, id, state, channels, notAfterMs, groups }: EnrolledPeer): string[] {
  const ends = notAfterMs === null ? "-" : formatInstant(notAfterMs);
  return [name, id, state, channels === null ? "-" : String(channels), ends, groups.join(", ")];
}

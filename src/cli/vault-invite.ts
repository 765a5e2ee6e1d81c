import { type Command, InvalidArgumentError } from "commander";
import { invitationSchema } from "../control/peer-requests.ts";
import { addressesMax, invitationSecondsMax, type PeerRequest } from "../control/requests.ts";
import { parseSiteAddress } from "../tls/token.ts";
import { peerNameArgument } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { parseDuration } from "./config-values.ts";
import { verbCommand } from "./program.ts";
import { formatInstant } from "./table.ts";
import { type VaultOption, vaultDirectoryOf, vaultOption } from "./vault-option.ts";
import { askAboutPeers } from "./vault-peer-access.ts";

const hourSeconds = 3600;

interface InviteOptions extends CommonOptions, VaultOption {
  readonly address: readonly string[];
  readonly expires: number;
  readonly replace?: boolean;
}

/** `afterimage vault invite NAME` */
export function inviteCommand(context: CommandContext): Command {
  return verbCommand(
    "invite",
    "print a one-time invitation with which a replicator enrols",
    "afterimage vault invite protected-site --address vault.example:7420",
  )
    .argument("<name>", "the replicator's name from now on")
    .addOption(vaultOption())
    .option(
      "--address <address>",
      "host and port where the replicator reaches the vault; may be repeated (default: as the running server is configured)",
      collectAddress,
      [],
    )
    .option("--expires <duration>", "how long the invitation is good", expiryArgument, hourSeconds)
    .option("--replace", "another replicator may take the name from the one that has it")
    .addHelpText(
      "after",
      "\nThe token is secret until it is used: whoever has it may enrol in that name. At the protected site: `afterimage replicator join TOKEN`.",
    )
    .action((name: string, options: InviteOptions) => runInvite(context, name, options));
}

async function runInvite(context: CommandContext, name: string, options: InviteOptions) {
  const request: PeerRequest = {
    verb: "invite",
    name: peerNameArgument(name),
    addresses: [...options.address],
    expiresSeconds: options.expires,
    replaces: options.replace ?? false,
  };
  const directory = vaultDirectoryOf(options);
  const made = await askAboutPeers(context, directory, request, invitationSchema);
  const { addresses, fingerprint, expiresAtMs, token } = made;
  const text = [
    token,
    "",
    `Good once, until ${formatInstant(expiresAtMs)}, for ${name} at ${addresses.join(", ")}.`,
    `Authority: SHA-256 ${fingerprint}`,
    `At the protected site: afterimage replicator join TOKEN`,
  ].join("\n");
  printResult(context, options, { json: made, text });
}

function collectAddress(text: string, before: readonly string[]): readonly string[] {
  if (parseSiteAddress(text) === null) {
    throw new InvalidArgumentError('It is host and port, such as "vault.example:7420".');
  }
  if (before.length < addressesMax) return [...before, text];
  throw new InvalidArgumentError(`At most ${addressesMax} addresses stand in an invitation.`);
}

function expiryArgument(text: string): number {
  const seconds = parseDuration(text) ?? Number.NaN;
  if (seconds >= 1 && seconds <= invitationSecondsMax) return Math.floor(seconds);
  throw new InvalidArgumentError('It is a duration from 1s to 31d, such as "1h".');
}

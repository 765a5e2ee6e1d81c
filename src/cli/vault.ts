import { Command } from "commander";
import type { Verb } from "./program.ts";
import { certificateCommand } from "./vault-certificate.ts";
import { initCommand } from "./vault-init.ts";
import { inviteCommand } from "./vault-invite.ts";
import { peersCommand } from "./vault-peers.ts";
import { raiseCommand } from "./vault-raise.ts";
import { revokeCommand } from "./vault-revoke.ts";
import { type ServeVault, serveCommand } from "./vault-serve.ts";

/** `afterimage vault …`; what serves is handed in, because it lives above. */
export function vaultVerb(options: {
  readonly serveVault: ServeVault;
  readonly version: string;
}): Verb {
  return (context) =>
    new Command("vault")
      .description("make a vault, serve it, and say who may ship to it")
      .helpCommand(false)
      .addCommand(initCommand(context))
      .addCommand(serveCommand(context, options))
      .addCommand(inviteCommand(context))
      .addCommand(peersCommand(context))
      .addCommand(revokeCommand(context))
      .addCommand(raiseCommand(context))
      .addCommand(certificateCommand(context));
}

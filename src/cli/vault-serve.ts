import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { Fault } from "../base/fault.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { parseVaultConfig, readVaultConfig } from "./vault-config.ts";
import { parseListenAddress, type VaultConfig } from "./vault-config-schema.ts";

/** What `afterimage vault serve` asks of whoever puts the parts together. */
export interface VaultServeRequest {
  /** The vault's directory. */
  readonly directory: string;
  readonly config: VaultConfig;
  readonly log: "text" | "json";
  /** Of this program. */
  readonly version: string;
}

/** Serves a vault until interrupted. */
export type ServeVault = (context: CommandContext, request: VaultServeRequest) => Promise<void>;

interface ServeOptions extends CommonOptions {
  readonly config?: string;
  readonly listen?: string;
  readonly printConfig?: boolean;
  readonly log: "text" | "json";
}

/** `afterimage vault serve DIR` */
export function serveCommand(
  context: CommandContext,
  options: { readonly serveVault: ServeVault; readonly version: string },
): Command {
  const command = verbCommand(
    "serve",
    "keep what replicators ship in a vault of this host, until interrupted",
    "afterimage vault serve /srv/vault --listen 0.0.0.0:7420 --log json",
  );
  return command
    .argument("<directory>", "the vault, made by `afterimage vault init`")
    .option(
      "--config <file>",
      "the vault's configuration, a YAML file (docs/operating/vault-config.md)",
    )
    .option("--listen <address>", "host and port to listen on instead of the configured ones")
    .option("--print-config", "show the effective configuration and do nothing else")
    .addOption(
      new Option("--log <format>", "format of the log on stderr")
        .choices(["text", "json"])
        .default("text"),
    )
    .addHelpText(
      "after",
      "\nWho may connect is decided by certificates alone: `afterimage vault invite NAME` lets a replicator enrol.\nSIGINT and SIGTERM end it cleanly: points under way are given up, nothing sealed is lost. A second one ends it at once.",
    )
    .action((directory: string, given: ServeOptions) =>
      runServe(context, directory, given, options),
    );
}

async function runServe(
  context: CommandContext,
  argument: string,
  given: ServeOptions,
  options: { readonly serveVault: ServeVault; readonly version: string },
): Promise<void> {
  const directory = absolutePath(argument);
  const config = await effectiveConfig(context, given);
  if (given.printConfig === true) {
    printResult(context, given, { json: config, text: stringify(config).trimEnd() });
    return;
  }
  const { version } = options;
  await options.serveVault(context, { directory, config, log: given.log, version });
  printResult(context, given, { json: { directory }, text: `Stopped serving ${directory}.` });
}

async function effectiveConfig(context: CommandContext, given: ServeOptions): Promise<VaultConfig> {
  const config =
    given.config === undefined
      ? parseVaultConfig("", "defaults")
      : await readVaultConfig(context.files, absolutePath(given.config));
  if (given.listen === undefined) return config;
  const listen = parseListenAddress(given.listen);
  if (listen !== null) return { ...config, listen };
  const message = `"${given.listen}" is no address such as "192.0.2.7:7420" or "[::]:7420"`;
  throw new Fault("USAGE", message);
}

import { Command, Option } from "commander";
import { stringify } from "yaml";
import { Fault } from "../base/fault.ts";
import { joinVault } from "../tls/join.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { readConfig } from "./config.ts";
import type { Config } from "./config-schema.ts";
import { type Verb, verbCommand } from "./program.ts";
import { readToken } from "./read-token.ts";
import { printSummary } from "./replication-summary.ts";
import type { ReplicationSummary } from "./up.ts";

/** Where a replicator's state lies unless it is said otherwise. */
const stateDefault = "/var/lib/afterimage/replicator";

/** What `afterimage replicator serve` asks of whoever puts the parts together. */
export interface ReplicatorRequest {
  readonly config: Config;
  /** The configuration's file, to read it again. */
  readonly path: string;
  /** The state's directory, from the configuration. */
  readonly state: string;
  readonly log: "text" | "json";
  /** Of the program. */
  readonly version: string;
}

/** Replicates all groups of a configuration to the vault of its state directory until interrupted. */
export type ServeReplicator = (
  context: CommandContext,
  request: ReplicatorRequest,
) => Promise<ReplicationSummary>;

interface ReplicatorParts {
  readonly serveReplicator: ServeReplicator;
  readonly version: string;
}

interface ServeOptions extends CommonOptions {
  readonly printConfig?: boolean;
  readonly log: "text" | "json";
}

interface JoinOptions extends CommonOptions {
  readonly state: string;
  readonly tokenFile?: string;
  readonly replace?: boolean;
}

/** `afterimage replicator serve|join` */
export function replicatorVerb(parts: ReplicatorParts): Verb {
  return (context) =>
    new Command("replicator")
      .description("send points of this site's machines to a vault of another site")
      .helpCommand(false)
      .addCommand(serveCommand(context, parts))
      .addCommand(joinCommand(context));
}

function serveCommand(context: CommandContext, parts: ReplicatorParts): Command {
  return verbCommand(
    "serve",
    "replicate what a configuration names to the vault that was joined, until interrupted",
    "afterimage replicator serve /etc/afterimage/replicator.yaml --log json",
  )
    .argument("<config>", "the configuration, a YAML file (docs/operating/config.md)")
    .option("--print-config", "show the effective configuration and do nothing else")
    .addOption(
      new Option("--log <format>", "format of the log on stderr")
        .choices(["text", "json"])
        .default("text"),
    )
    .addHelpText(
      "after",
      "\nSIGHUP reads the configuration again. SIGINT and SIGTERM end it cleanly: a cycle under way is given up, nothing sealed is lost. A second one ends it at once.",
    )
    .action(async (path: string, options: ServeOptions) => {
      const file = absolutePath(path);
      const config = await readConfig(context.files, file);
      if (options.printConfig === true) {
        printResult(context, options, { json: config, text: stringify(config).trimEnd() });
        return;
      }
      const { state } = config;
      if (state === undefined) {
        const message = `${path} has \`vault\`, so one process does it all; it is for \`afterimage up\``;
        throw new Fault("CONFIG_INVALID", message, { path });
      }
      const request = { config, path: file, state, log: options.log, version: parts.version };
      printSummary(context, options, await parts.serveReplicator(context, request));
    });
}

function joinCommand(context: CommandContext): Command {
  return verbCommand(
    "join",
    "use an invitation: make a key, get a certificate for it, remember the vault",
    "afterimage replicator join - --state /var/lib/afterimage/replicator < token",
  )
    .argument(
      "[token]",
      "what `afterimage vault invite` printed, or - to read it from stdin; on the command line other users of this host see it while the command runs",
    )
    .option("--token-file <path>", "read the token from a file")
    .option(
      "--state <directory>",
      "the replicator's directory, made if it is not there",
      stateDefault,
    )
    .option("--replace", "leave the vault that this directory has joined, for another one")
    .action((token: string | undefined, options: JoinOptions) => runJoin(context, token, options));
}

async function runJoin(
  context: CommandContext,
  argument: string | undefined,
  options: JoinOptions,
): Promise<void> {
  const { files, clock, prng, signal } = context;
  const directory = absolutePath(options.state);
  const token = await readToken(context, { argument, file: options.tokenFile ?? null });
  const replaces = options.replace === true;
  const joined = await joinVault({ token, directory, replaces, files, clock, prng, signal });
  const { name, id, vaultId, addresses } = joined;
  const vault = addresses.map(({ host, port }) => `${host}:${port}`).join(", ");
  printResult(context, options, {
    json: { directory, name, id, vaultId, addresses },
    text: `Joined the vault ${vaultId} (${vault}) as ${name}; who we are is kept in ${directory}.\nNext: write \`state: ${directory}\` into a configuration, then \`afterimage replicator serve CONFIG\`.`,
  });
}

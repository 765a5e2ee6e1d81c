import { Option } from "commander";
import { stringify } from "yaml";
import { Fault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import { absolutePath, wholeNumber } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { readConfig } from "./config.ts";
import type { Config } from "./config-schema.ts";
import { type Verb, verbCommand } from "./program.ts";
import { printSummary } from "./replication-summary.ts";

/** What `afterimage up` asks of whoever puts the parts together. */
export interface ReplicationRequest {
  readonly config: Config;
  /** The vault's directory, from the configuration. */
  readonly vault: string;
  /** Ends after so many sealed points of each group; null runs until interrupted. */
  readonly cycles: number | null;
  readonly log: "text" | "json";
  /** Of the program. */
  readonly version: string;
}

/** How each group ended. */
export interface ReplicationSummary {
  readonly groups: readonly {
    readonly name: GroupName;
    readonly points: number;
    readonly endedBy: "cycles" | "signal" | "fault";
    readonly fault: Fault | null;
  }[];
}

/** Replicates all groups of a configuration until done or interrupted. */
export type Replicate = (
  context: CommandContext,
  request: ReplicationRequest,
) => Promise<ReplicationSummary>;

interface UpParts {
  readonly replicate: Replicate;
  readonly version: string;
}

interface UpOptions extends CommonOptions {
  readonly once?: boolean;
  readonly cycles?: number;
  readonly printConfig?: boolean;
  readonly log: "text" | "json";
}

/** `afterimage up CONFIG`, also `afterimage run CONFIG` */
export function upVerb(parts: UpParts): Verb {
  return (context) =>
    verbCommand(
      "up",
      "replicate what a configuration names into a vault of this host, until interrupted",
      "afterimage up /etc/afterimage/up.yaml --log json",
    )
      .alias("run")
      .argument("<config>", "the configuration, a YAML file (docs/operating/config.md)")
      .option("--once", "end after one point of each group (after the initial sync, if it is due)")
      .option(
        "--cycles <n>",
        "end after so many points of each group",
        wholeNumber(1, 1_000_000_000),
      )
      .option("--print-config", "show the effective configuration and do nothing else")
      .addOption(
        new Option("--log <format>", "format of the log on stderr")
          .choices(["text", "json"])
          .default("text"),
      )
      .addHelpText(
        "after",
        "\nSIGINT and SIGTERM end it cleanly: a cycle under way is given up, nothing sealed is lost. A second one ends it at once.",
      )
      .action((config: string, options: UpOptions) =>
        runReplication(context, { config, ...parts }, options),
      );
}

async function runReplication(
  context: CommandContext,
  given: { config: string } & UpParts,
  options: UpOptions,
): Promise<void> {
  const config = await readConfig(context.files, absolutePath(given.config));
  if (options.printConfig === true) {
    printResult(context, options, { json: config, text: stringify(config).trimEnd() });
    return;
  }
  const { vault } = config;
  if (vault === undefined) {
    const message = `${given.config} has \`state\`, so its vault is another site's; it is for \`afterimage replicator serve\``;
    throw new Fault("CONFIG_INVALID", message, { path: given.config });
  }
  const cycles = options.once === true ? 1 : (options.cycles ?? null);
  const { version } = given;
  const request = { config, vault, cycles, log: options.log, version };
  printSummary(context, options, await given.replicate(context, request));
}

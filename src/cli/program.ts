import { Command, CommanderError } from "commander";
import { Fault } from "../base/fault.ts";
import type { CommandContext } from "./command-context.ts";
import { failureOf, traceOf } from "./failure.ts";

/** Makes one verb's command; the verb's file holds nothing else. */
export type Verb = (context: CommandContext) => Command;

/** A command with what all verbs have in common: --json, and an example at the end of --help. */
export function verbCommand(name: string, description: string, example: string): Command {
  return new Command(name)
    .description(description)
    .option("--json", "print one line of JSON for programs")
    .addHelpText("after", `\nExample:\n  $ ${example}`);
}

/** The whole command, ready to parse. Never ends the process by itself. */
export function buildProgram(
  context: CommandContext,
  verbs: readonly Verb[],
  version: string,
): Command {
  const program = new Command("afterimage")
    .description("Near-sync replication and disaster recovery for virtual machines.")
    .version(version, "-V, --version", "print the version")
    .helpCommand(false)
    .addHelpText("after", "\nExample:\n  $ afterimage status /srv/vault");
  for (const verb of verbs) program.addCommand(verb(context));
  tame(program, context);
  return program;
}

/** Subcommands do not inherit what was set after they were added. */
function tame(command: Command, context: CommandContext): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => context.terminal.out(text.trimEnd()),
    writeErr: () => {}, // Errors come back as CommanderError and are said once, in one line.
    getOutHelpWidth: () => 100,
    getErrHelpWidth: () => 100,
  });
  for (const child of command.commands) tame(child, context);
}

/**
 * Runs one command line (without node and script) and returns its exit code: 0 all is well, 1 a check found something wrong,
 * 2 wrong usage or the world did not let it.
 */
export async function runCommandLine(
  program: Command,
  words: readonly string[],
  context: CommandContext,
): Promise<0 | 1 | 2> {
  try {
    await program.parseAsync([...words], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const told = error instanceof CommanderError ? usageFault(error) : error;
    const failure = failureOf(told);
    // A check that failed has printed its findings: stdout has one object, whatever happens.
    const isToldAlready = context.terminal.hasOut();
    if (words.includes("--json") && !isToldAlready) {
      context.terminal.out(JSON.stringify(failure.json));
    }
    context.terminal.err(`${failure.line}\n`);
    if (context.isTracing) context.terminal.err(`${traceOf(told)}\n`);
    return failure.exitCode;
  }
}

function usageFault(error: CommanderError): Fault {
  const isBare = error.code === "commander.help";
  const message = isBare ? "a verb is missing" : error.message.replace(/^error: /, "");
  return new Fault("USAGE", message, {}, { cause: error });
}

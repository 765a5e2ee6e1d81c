import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { sqliteLocks } from "../journal/sqlite-locks.ts";
import type { CommandContext } from "./command-context.ts";
import { interruptedFault } from "./interruption.ts";
import { runAfterimage } from "./main.ts";
import type { ServeReplicator } from "./replicator.ts";
import { recordedTerminal } from "./terminal.ts";
import type { Replicate } from "./up.ts";
import type { ServeVault } from "./vault-serve.ts";

/** A command line that runs within the test's process. */
export interface TestCommand {
  readonly exitCode: Promise<0 | 1 | 2>;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** As Ctrl-C would. */
  interrupt(): void;
}

const nothingReplicates: Replicate = async () => ({ groups: [] });
const nobodyReplicates: ServeReplicator = async () => ({ groups: [] });
const nothingServes: ServeVault = async () => {};

/** Starts a command line; what `run` would start is handed in. */
export function startCommand(
  words: readonly string[],
  options: {
    readonly replicate?: Replicate;
    readonly serveReplicator?: ServeReplicator;
    readonly serveVault?: ServeVault;
    readonly context?: Partial<CommandContext>;
  } = {},
): TestCommand {
  const terminal = recordedTerminal();
  const interrupted = new AbortController();
  const context: CommandContext = {
    terminal,
    files: nodeFileSystem(),
    clock: systemClock(),
    prng: seededPrng(1),
    locks: sqliteLocks(),
    signal: interrupted.signal,
    isTracing: false,
    ...options.context,
  };
  const { replicate = nothingReplicates, serveVault = nothingServes } = options;
  const { serveReplicator = nobodyReplicates } = options;
  const parts = { replicate, serveReplicator, serveVault, version: "1.2.3" };
  return {
    exitCode: runAfterimage(words, context, parts),
    stdout: terminal.stdout,
    stderr: terminal.stderr,
    interrupt: () => interrupted.abort(interruptedFault()),
  };
}

/** Runs a command line to its end. */
export async function command(...words: readonly string[]) {
  const running = startCommand(words);
  const exitCode = await running.exitCode;
  return { exitCode, stdout: running.stdout(), stderr: running.stderr() };
}

/** The one line of JSON that a command line printed. */
export async function commandJson(...words: readonly string[]): Promise<unknown> {
  const { stdout, stderr } = await command(...words, "--json");
  const lines = stdout.trimEnd().split("\n");
  if (lines.length !== 1)
    throw new Error(`${lines.length} lines instead of one: ${stdout}${stderr}`);
  return JSON.parse(lines[0]!);
}

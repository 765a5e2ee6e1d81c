import type { Clock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { Prng } from "../base/prng.ts";
import type { VaultLocks } from "../journal/vault-locks.ts";
import type { Terminal } from "./terminal.ts";

/** What every verb works with. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly locks: VaultLocks;
  /** Aborts with a fault ABORTED when a person interrupts the command. */
  readonly signal: AbortSignal;
  /** Says stacks and causes on stderr (AFTERIMAGE_TRACE). */
  readonly isTracing: boolean;
}

/** Options that every verb has. */
export interface CommonOptions {
  readonly json?: boolean;
}

/** The result of a verb: one line of JSON for programs, or text for people. */
export function printResult(
  context: CommandContext,
  options: CommonOptions,
  result: { readonly json: unknown; readonly text: string },
): void {
  context.terminal.out(options.json === true ? JSON.stringify(result.json) : result.text);
}

import type { Command } from "commander";
import { assessVerb } from "./assess.ts";
import { bootVerb } from "./boot.ts";
import type { CommandContext } from "./command-context.ts";
import { doctorVerb } from "./doctor.ts";
import { exportVerb } from "./export.ts";
import { mountVerb } from "./mount.ts";
import { moveBaseVerb } from "./move-base.ts";
import { pointsVerb } from "./points.ts";
import { buildProgram, runCommandLine } from "./program.ts";
import { replicatorVerb, type ServeReplicator } from "./replicator.ts";
import { scrubVerb } from "./scrub.ts";
import { statusVerb } from "./status.ts";
import { thinVerb } from "./thin.ts";
import { type Replicate, upVerb } from "./up.ts";
import { vaultVerb } from "./vault.ts";
import type { ServeVault } from "./vault-serve.ts";
import { verifyVerb } from "./verify.ts";

/** What lives above the command line and is handed in. */
export interface ProgramParts {
  readonly replicate: Replicate;
  readonly serveReplicator: ServeReplicator;
  readonly serveVault: ServeVault;
  readonly version: string;
}

/** The command line with all its verbs; what runs for long is handed in, because it lives above. */
export function afterimageProgram(context: CommandContext, options: ProgramParts): Command {
  const verbs = [
    vaultVerb(options),
    replicatorVerb(options),
    upVerb(options),
    statusVerb,
    pointsVerb,
    verifyVerb,
    mountVerb,
    exportVerb,
    bootVerb,
    thinVerb,
    moveBaseVerb,
    scrubVerb,
    doctorVerb,
    assessVerb,
  ];
  return buildProgram(context, verbs, options.version);
}

/** Runs one command line and returns its exit code. */
export async function runAfterimage(
  words: readonly string[],
  context: CommandContext,
  options: ProgramParts,
): Promise<0 | 1 | 2> {
  return runCommandLine(afterimageProgram(context, options), words, context);
}

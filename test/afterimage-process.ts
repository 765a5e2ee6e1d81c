import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../bin/afterimage", import.meta.url));

/** How a command line ended. */
export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `afterimage`. Disposing kills it. */
export interface AfterimageProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves with everything written so far to stdout or stderr once `pattern` is in it; rejects when it ended before. */
  seen(pattern: RegExp): Promise<string>;
}

/** Starts the command as a person would. */
export function startAfterimage(...words: readonly string[]): AfterimageProcess {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  const waiting = new Set<() => void>();
  child.stdout.on("data", (text: Buffer) => {
    stdout += text.toString();
    for (const look of waiting) look();
  });
  child.stderr.on("data", (text: Buffer) => {
    stderr += text.toString();
    for (const look of waiting) look();
  });
  const ended = once(child, "close").then(([exitCode, signal]) => ({
    exitCode: exitCode as number | null,
    signal: signal as NodeJS.Signals | null,
    stdout,
    stderr,
  }));
  return {
    child,
    ended,
    seen: async (pattern) => {
      const found = Promise.withResolvers<string>();
      const look = () => {
        if (pattern.test(stdout + stderr)) found.resolve(stdout + stderr);
      };
      waiting.add(look);
      look();
      const late = ended.then(() => {
        if (pattern.test(stdout + stderr)) return stdout + stderr;
        throw new Error(`it ended before it said ${pattern}: ${stdout}${stderr}`);
      });
      try {
        return await Promise.race([found.promise, late]);
      } finally {
        waiting.delete(look);
      }
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Runs a command line to its end. */
export async function afterimage(...words: readonly string[]): Promise<Ended> {
  await using running = startAfterimage(...words);
  return await running.ended;
}

/** The JSON object that a command printed; fails with its error when it did not end well. */
export async function afterimageJson<Result>(...words: readonly string[]): Promise<Result> {
  const { exitCode, stdout, stderr } = await afterimage(...words, "--json");
  if (exitCode !== 0) throw new Error(`afterimage ${words.join(" ")}: ${exitCode}: ${stderr}`);
  return JSON.parse(stdout) as Result;
}

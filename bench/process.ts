import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { KIB } from "../src/base/units.ts";

/** How a program ran. */
export interface ProgramRun {
  readonly exitCode: number;
  readonly durationMs: number;
  /** Largest resident size seen; 0 when the program ended before the first look. */
  readonly rssBytesMax: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How often the resident size is looked at; the kernel keeps the largest, so only the very end can be missed. */
const lookEveryMs = 10;

/**
 * Runs a program to its end and measures it. Rejects when its exit code is not 0. A Node program measures itself better:
 * let it print `ownRssBytesMax()` last.
 */
export async function runProgram(
  program: string,
  programArguments: readonly string[],
  options: { readonly environment?: Readonly<Record<string, string>> } = {},
): Promise<ProgramRun> {
  const startedAtMs = performance.now();
  const child = spawn(program, programArguments, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.environment },
  });
  let rssBytesMax = 0;
  const look = async () => {
    const seen = await rssBytesMaxOf(child.pid ?? 0);
    rssBytesMax = Math.max(rssBytesMax, seen ?? 0);
  };
  const looking = setInterval(() => void look(), lookEveryMs);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  try {
    const [code, signal] = await once(child, "close");
    const durationMs = performance.now() - startedAtMs;
    if (code !== 0) {
      const end = code === null ? `signal ${signal}` : `exit code ${code}`;
      throw new Error(`${program} ended with ${end}: ${stderr.trim()}`);
    }
    return { exitCode: 0, durationMs, rssBytesMax, stdout, stderr };
  } finally {
    clearInterval(looking);
  }
}

/** The largest resident size of a process so far (VmHWM of proc(5)), or null when it is gone. */
export async function rssBytesMaxOf(pid: number | "self"): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return found === undefined ? null : Number(found) * KIB;
}

/** The largest resident size of this process so far. */
export async function ownRssBytesMax(): Promise<number> {
  return (await rssBytesMaxOf("self")) ?? 0;
}

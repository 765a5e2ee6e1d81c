import { spawn } from "node:child_process";
import { once } from "node:events";
import { Fault } from "../base/fault.ts";
import { KIB, MIB } from "../base/units.ts";
import { abortFault } from "./abort-fault.ts";

/** Most that is kept of what a program writes: `qemu-img info` of an image with 100 bitmaps has 20 KiB. */
export const toolOutputBytesMax = 8 * MIB;
const complaintLengthMax = 4 * KIB;

/**
 * Runs a program of the host to its end and resolves to what it wrote. TOOL_MISSING (details.program), TOOL_FAILED with the
 * program's own words, ABORTED.
 */
export async function runTool(
  program: string,
  args: readonly string[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const { signal } = options;
  if (signal?.aborted) throw abortFault(signal, program);
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const kill = () => void child.kill("SIGKILL");
  signal?.addEventListener("abort", kill, { once: true });
  const output: Buffer[] = [];
  let outputBytes = 0;
  let complaint = "";
  child.stdout.on("data", (bytes: Buffer) => {
    outputBytes += bytes.length;
    if (outputBytes > toolOutputBytesMax) kill();
    else output.push(bytes);
  });
  child.stderr.on("data", (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(0, complaintLengthMax);
  });
  try {
    const [exitCode] = await once(child, "close");
    if (exitCode === 0) return Buffer.concat(output).toString("utf8");
    if (signal?.aborted) throw abortFault(signal, program);
    const words = complaint.trim() || `exit code ${exitCode}`;
    throw new Fault("TOOL_FAILED", `${program}: ${words}`, { program, words });
  } catch (error) {
    throw isMissing(error) ? toolMissing(program, error) : error;
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

const packageOf: Readonly<Record<string, string>> = {
  "qemu-img": "qemu-utils",
  "qemu-storage-daemon": "qemu-system-common",
  fallocate: "util-linux",
  setpriv: "util-linux",
};

function toolMissing(program: string, cause: unknown): Fault {
  const debian = packageOf[program] ?? program;
  const message = `${program} is not installed (Debian: ${debian})`;
  return new Fault("TOOL_MISSING", message, { program, package: debian }, { cause });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

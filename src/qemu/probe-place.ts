import { join } from "node:path";
import { z } from "zod";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { formatBytes } from "../base/units.ts";
import type { Finding } from "../core/platform.ts";
import { floorCommands } from "./floor-5-2.ts";
import { Findings } from "./probe.ts";
import { connectQmp } from "./qmp.ts";

const probeFile = ".afterimage-probe";

/** Looks whether a directory (vault or scratch) can be written to and has room. */
export async function probeDirectory(options: {
  readonly files: FileSystem;
  /** What it is, for the finding's name: "vault", "scratch". */
  readonly what: string;
  readonly path: string;
  readonly freeBytesMin: number;
}): Promise<readonly Finding[]> {
  const { files, what, path, freeBytesMin } = options;
  const findings = new Findings();
  const canWrite = await findings.check(`${what}: access`, null, async () => {
    const found = await files.stat(path);
    if (found?.kind !== "directory") {
      throw new Fault("STORAGE_MISSING", `${path} is not a directory`, { path });
    }
    const file = join(path, probeFile);
    await files.remove(file);
    await using _made = await files.open(file, "create");
    await files.remove(file);
    return `${path} can be written to.`;
  });
  if (!canWrite) return findings.list;
  await findings.check(`${what}: room`, null, async () => {
    const freeBytes = await files.freeBytes(path);
    const text = `${path} has ${formatBytes(freeBytes)} free, ${formatBytes(freeBytesMin)} are wanted`;
    if (freeBytes < freeBytesMin) throw new Fault("STORAGE_FULL", text, { path, freeBytes });
    return `${text}.`;
  });
  return findings.list;
}

const commandsSchema = z.array(z.object({ name: z.string() }));

/** Asks a running machine's QEMU whether it has every command that replication sends. Changes nothing there. */
export async function probeRunningMachine(options: {
  readonly machine: string;
  readonly qmpPath: string;
  readonly signal: AbortSignal;
}): Promise<readonly Finding[]> {
  const { machine, qmpPath, signal } = options;
  const findings = new Findings();
  await findings.check(`${machine}: QMP`, null, async () => {
    await using qmp = await connectQmp({ path: qmpPath, signal });
    const answer = await qmp.execute("query-commands", {}, { signal });
    const known = new Set(commandsSchema.parse(answer).map(({ name }) => name));
    // The one command of the other mode was understood, or we were not here.
    known.add("qmp_capabilities");
    const missing = floorCommands.filter((name) => !known.has(name));
    const { major, minor, micro } = qmp.greeting;
    if (missing.length === 0) return `QEMU ${major}.${minor}.${micro} has every command needed.`;
    throw new Fault(
      "QEMU_UNSUPPORTED",
      `QEMU ${major}.${minor}.${micro} lacks ${missing.join(", ")}`,
    );
  });
  return findings.list;
}

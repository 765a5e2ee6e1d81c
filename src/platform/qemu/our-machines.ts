import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "../../base/fault.ts";
import type { GroupName, MachineName } from "../../core/ids.ts";
import type { OurMachine } from "../../core/platform.ts";

const titlePrefix = "afterimage-";

/** How a booted machine is called in the host's process list. */
export function machineTitle(group: GroupName, machine: MachineName): string {
  return `${titlePrefix}${group}-${machine}`;
}

/** QEMUs on this host whose title is one of ours, by process id. */
export async function listOurMachines(processes = "/proc"): Promise<readonly OurMachine[]> {
  const found: OurMachine[] = [];
  for (const name of await readdir(processes)) {
    if (!/^\d+$/.test(name)) continue;
    const title = await titleOf(join(processes, name));
    if (title !== null) found.push({ title, reference: name });
  }
  return found;
}

/** Kills a machine of ours; a process that meanwhile is another one, or gone, is left alone. */
export async function stopOurMachine(
  machine: OurMachine,
  { processes = "/proc", kill = killProcess } = {},
): Promise<void> {
  if ((await titleOf(join(processes, machine.reference))) !== machine.title) return;
  kill(machine.reference);
}

function killProcess(id: string): void {
  try {
    process.kill(Number(id), "SIGKILL");
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    if (reason === "ESRCH") return; // It ended just now.
    throw new Fault(
      "TOOL_FAILED",
      `process ${id} cannot be ended: ${reason}`,
      {},
      { cause: error },
    );
  }
}

async function titleOf(directory: string): Promise<string | null> {
  const commandLine = await readFile(join(directory, "cmdline"), "utf8").catch(() => ""); // It has ended.
  const words = commandLine.split("\0");
  if (!/(^|\/)qemu-system-[^/]+$/.test(words[0] ?? "")) return null;
  const title = words[words.indexOf("-name") + 1] ?? "";
  return words.includes("-name") && title.startsWith(titlePrefix) ? title : null;
}

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault, isFault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import type { Finding } from "../core/platform.ts";
import { type Machine, startMachine } from "./machine.ts";
import type { Accelerator } from "./machine-arguments.ts";
import type { MachineDefinition } from "./machine-definition.ts";
import { Findings, type ProbeOptions } from "./probe.ts";
import { connectQmp } from "./qmp.ts";

/** How long a machine without disks must run before its accelerator is trusted: a bad one aborts when the processor starts. */
export const acceleratorTrialMs = 300;
const bare: MachineDefinition = {
  machineType: "q35",
  cpuCount: 1,
  memoryBytes: 128 * MIB,
  disks: [],
};

/** Tries whether machines can be started on this host from served points. */
export async function probeMachines(options: ProbeOptions): Promise<readonly Finding[]> {
  const findings = new Findings();
  const canRun = await findings.check("qemu-system", null, async () => {
    await tryAccelerator("tcg", options);
    return "A machine without disks ran.";
  });
  if (!canRun) return findings.list;
  await findings.check(
    "NBD disks",
    "Install QEMU's network block drivers (Debian: qemu-block-extra).",
    () => withMachine("tcg", options, (machine) => tryNbdDriver(machine, options.signal)),
  );
  findings.list.push(await accelerationFinding(options));
  return findings.list;
}

/** Never a failure: machines start without it, and are slow. */
async function accelerationFinding(options: ProbeOptions): Promise<Finding> {
  const name = "hardware acceleration";
  if ((await chooseAccelerator(options)) === "kvm") {
    return { name, ok: true, detail: "A machine ran on KVM.", fix: null };
  }
  const detail = "KVM does not work here: machines start without it, and are many times slower.";
  const fix = "Enable virtualization for this host, and access to /dev/kvm for this user.";
  return { name, ok: true, detail, fix };
}

/** "kvm" where a machine runs on it, else "tcg". TOOL_MISSING, ABORTED. */
export async function chooseAccelerator(options: ProbeOptions): Promise<Accelerator> {
  try {
    await tryAccelerator("kvm", options);
    return "kvm";
  } catch (error) {
    if (isFault(error, "TOOL_FAILED", "TIMEOUT", "QMP_CLOSED")) return "tcg";
    throw error;
  }
}

async function tryAccelerator(accelerator: Accelerator, options: ProbeOptions): Promise<void> {
  const { clock, signal } = options;
  await withMachine(accelerator, options, async (machine) => {
    const trial = new AbortController();
    const survived = clock
      .sleep(acceleratorTrialMs, { signal: AbortSignal.any([signal, trial.signal]) })
      .then(() => null);
    survived.catch(() => {}); // Aborted when the machine ended first.
    const end = await Promise.race([survived, machine.ended]);
    trial.abort();
    if (end === null) return;
    const words = end.complaint.trim() || end.signal || `exit code ${end.exitCode}`;
    throw new Fault("TOOL_FAILED", `QEMU ended under ${accelerator}: ${words}`, { accelerator });
  });
}

/** A missing driver and a missing server are refused in different words. */
async function tryNbdDriver(machine: Machine, signal: AbortSignal): Promise<string> {
  await using qmp = await connectQmp({ path: machine.controlPath, signal });
  const server = { type: "unix", path: "/nonexistent/afterimage" };
  const node = { driver: "nbd", "node-name": "probe", server };
  try {
    await qmp.execute("blockdev-add", node, { signal });
  } catch (error) {
    if (!isFault(error, "QMP_REFUSED")) throw error;
    if (/Unknown driver|unknown block driver|Invalid parameter/i.test(error.message)) throw error;
  }
  return "QEMU knows how to read a disk over NBD.";
}

async function withMachine<Value>(
  accelerator: Accelerator,
  { clock, signal }: ProbeOptions,
  work: (machine: Machine) => Promise<Value>,
): Promise<Value> {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-probe-"));
  try {
    await using machine = await startMachine({
      name: "probe",
      definition: bare,
      nodes: new Map(),
      directory,
      accelerator,
      clock,
      signal,
    });
    return await work(machine);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

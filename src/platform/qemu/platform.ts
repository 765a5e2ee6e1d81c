import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/fault.ts";
import type { BootDisk, BootedMachine, BootRequest, Platform } from "../../core/platform.ts";
import { createImage } from "../../qemu/image.ts";
import { type Machine, type MachineEnd, startMachine } from "../../qemu/machine.ts";
import { type Accelerator, type BlockNode, overlayNode } from "../../qemu/machine-arguments.ts";
import { type MachineDefinition, machineDefinitionSchema } from "../../qemu/machine-definition.ts";
import { probeMachines } from "../../qemu/probe-machines.ts";
import { parseNbdUri } from "./nbd-place.ts";
import { listOurMachines, machineTitle, stopOurMachine } from "./our-machines.ts";

export interface QemuPlatformOptions {
  readonly clock: Clock;
  readonly accelerator: Accelerator;
  /** Where throw-away layers and sockets lie; the system's directory for temporary files when not given. */
  readonly scratchDirectory?: string;
}

/** Starts machines in QEMU on this host. */
export function qemuPlatform(options: QemuPlatformOptions): Platform {
  return {
    traits: { bootsFromView: true },
    start: (request) => start(options, request),
    probe: ({ signal }) => probeMachines({ clock: options.clock, signal }),
    listOurs: () => listOurMachines(),
    stop: (machine) => stopOurMachine(machine),
  };
}

async function start(options: QemuPlatformOptions, request: BootRequest): Promise<BootedMachine> {
  const { clock } = options;
  const askedAtMs = clock.monotonicMs();
  const definition = parseDefinition(request);
  await using stack = new AsyncDisposableStack();
  const scratch = options.scratchDirectory ?? tmpdir();
  const directory = await mkdtemp(join(scratch, "afterimage-boot-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const nodes = new Map<string, BlockNode>();
  for (const [index, { name }] of definition.disks.entries()) {
    const disk = request.disks.find((candidate) => candidate.name === name);
    if (!disk) throw unbuildable(request, `the point has no disk ${name}`);
    nodes.set(name, await throwAwayNode(directory, index, disk, request.signal));
  }
  const machine = stack.use(
    await startMachine({
      name: "machine",
      title: machineTitle(request.group, request.machine.name),
      definition,
      nodes,
      directory,
      accelerator: options.accelerator,
      clock,
      signal: request.signal,
    }),
  );
  return bootedMachine(request, machine, { clock, askedAtMs, resources: stack.move() });
}

function bootedMachine(
  request: BootRequest,
  machine: Machine,
  boot: { clock: Clock; askedAtMs: number; resources: AsyncDisposableStack },
): BootedMachine {
  return {
    name: request.machine.name,
    async waitUntilReady({ pattern, timeoutMs, signal }) {
      const line = await machine.console.waitForLine(pattern, { timeoutMs, signal });
      return { line, seconds: (boot.clock.monotonicMs() - boot.askedAtMs) / 1000 };
    },
    console: () => machine.console.excerpt(),
    onConsoleLine: (listener) => machine.console.onLine(listener),
    ended: machine.ended.then(describeEnd),
    [Symbol.asyncDispose]: () => boot.resources.disposeAsync(),
  };
}

/** The disk, with an empty layer over it that takes what the machine writes. */
async function throwAwayNode(
  directory: string,
  index: number,
  disk: BootDisk,
  signal: AbortSignal,
): Promise<BlockNode> {
  const path = join(directory, `disk-${index}.qcow2`);
  await createImage(path, { format: "qcow2", sizeBytes: disk.sizeBytes, signal });
  // Names of disks may be longer than QEMU's names of nodes, and begin with a digit.
  return { ...overlayNode(path, parseNbdUri(disk.uri)), "node-name": `disk-${index}` };
}

function parseDefinition(request: BootRequest): MachineDefinition {
  const { platform, definition } = request.machine;
  if (platform !== "qemu") throw unbuildable(request, `it was described for ${platform}`);
  const parsed = machineDefinitionSchema.safeParse(definition);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw unbuildable(request, `${issue?.path.join(".")}: ${issue?.message}`);
}

function unbuildable(request: BootRequest, why: string): Fault {
  const machine = request.machine.name;
  return new Fault("CONFIG_INVALID", `${machine} cannot be built here: ${why}`, { machine });
}

function describeEnd({ exitCode, signal, complaint }: MachineEnd): string {
  return `QEMU ended (${signal ?? `exit code ${exitCode}`}) ${complaint.trim()}`.trimEnd();
}

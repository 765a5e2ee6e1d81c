import { z } from "zod";
import * as commands from "./commands.ts";
import {
  diskSerialLengthMax,
  type MachineDefinition,
  type MachineDefinitionDisk,
} from "./machine-definition.ts";
import type { Qmp } from "./qmp.ts";
import type { QmpCommand } from "./qmp-messages.ts";

const memorySchema = z.object({
  "base-memory": z.int().nonnegative(),
  "plugged-memory": z.int().nonnegative().optional(),
});
const cpusSchema = z.array(z.object({ "cpu-index": z.int() }));
const typeSuffix = "-machine";

/**
 * Reads from a running QEMU what is needed to build the machine again; what it does not tell keeps the value of `fallback`.
 * `devices` says for each disk which guest device shows it ("" when none does).
 */
export async function describeMachine(
  qmp: Qmp,
  devices: ReadonlyMap<string, string>,
  fallback: MachineDefinition,
  options: { readonly signal: AbortSignal },
): Promise<MachineDefinition> {
  const names = [...devices.keys()];
  const [machineType, memory, cpus, ...serials] = await askAll(
    qmp,
    [
      commands.getProperty("/machine", "type"),
      commands.queryMemory(),
      commands.queryCpus(),
      ...names.flatMap((name) => {
        const path = devicePath(devices.get(name) ?? "");
        return [commands.getProperty(path, "serial"), commands.getProperty(path, "bootindex")];
      }),
    ],
    options,
  );
  const memoryBytes = memorySchema.safeParse(memory).data;
  return {
    machineType: machineTypeOf(machineType) ?? fallback.machineType,
    cpuCount: cpusSchema.safeParse(cpus).data?.length ?? fallback.cpuCount,
    memoryBytes: memoryBytes
      ? memoryBytes["base-memory"] + (memoryBytes["plugged-memory"] ?? 0)
      : fallback.memoryBytes,
    disks: names.map((name, index) =>
      diskOf(name, serials[2 * index], serials[2 * index + 1], fallback),
    ),
  };
}

/** A device's place in the object model: an id is below /machine/peripheral, all else is a path already. */
function devicePath(device: string): string {
  if (!device.startsWith("/")) return `/machine/peripheral/${device}`;
  // A virtio disk names its backend, whose parent carries serial and boot index.
  return device.replace(/\/virtio-backend$/, "");
}

function machineTypeOf(answer: unknown): string | null {
  if (typeof answer !== "string" || !answer.endsWith(typeSuffix)) return null;
  return answer.slice(0, -typeSuffix.length);
}

function diskOf(
  name: string,
  serial: unknown,
  bootIndex: unknown,
  fallback: MachineDefinition,
): MachineDefinitionDisk {
  const known = fallback.disks.find((disk) => disk.name === name);
  const isSerial =
    typeof serial === "string" &&
    serial.length <= diskSerialLengthMax &&
    /^[A-Za-z0-9._-]+$/.test(serial);
  const isIndex = typeof bootIndex === "number" && Number.isInteger(bootIndex) && bootIndex >= 0;
  return {
    name,
    serial: isSerial ? serial : (known?.serial ?? null),
    bootIndex: isIndex ? bootIndex : (known?.bootIndex ?? null),
  };
}

/** The answers in order, `undefined` where QEMU refused: a device of another kind has no such property. */
async function askAll(
  qmp: Qmp,
  list: readonly QmpCommand[],
  options: { readonly signal: AbortSignal },
): Promise<readonly unknown[]> {
  const answers = await qmp.executeAll(list, options);
  return answers.map((answer) => (answer.ok ? answer.value : undefined));
}

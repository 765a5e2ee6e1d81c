import assert from "node:assert/strict";
import { MIB } from "../base/units.ts";
import type { MachineDefinition, MachineDefinitionDisk } from "./machine-definition.ts";

/** What carries a machine: "kvm" needs /dev/kvm and a processor it agrees with, "tcg" works everywhere and is slow. */
export type Accelerator = "kvm" | "tcg";

/** A tree of block nodes as QMP's `blockdev-add` takes it; without a `node-name` it gets the disk's name. */
export type BlockNode = Readonly<Record<string, unknown>> & { readonly "node-name"?: string };

/** A node over a local qcow2 or raw image; what the guest discards is given back to the file system. */
export function imageNode(path: string, format: "qcow2" | "raw"): BlockNode {
  return {
    driver: format,
    discard: "unmap",
    file: { driver: "file", filename: path, discard: "unmap" },
  };
}

/** Where an NBD export is, as QEMU's `nbd` driver takes it. */
export interface NbdPlace {
  readonly server:
    | { readonly type: "unix"; readonly path: string }
    | { readonly type: "inet"; readonly host: string; readonly port: string };
  readonly export: string;
}

/** A throw-away layer (an empty qcow2 of the disk's size) over an NBD export that is only read. */
export function overlayNode(overlayPath: string, backing: NbdPlace): BlockNode {
  return {
    driver: "qcow2",
    discard: "unmap",
    // What a throw-away layer holds need not survive anything.
    cache: { "no-flush": true },
    file: { driver: "file", filename: overlayPath, discard: "unmap" },
    backing: { driver: "nbd", "read-only": true, ...backing },
  };
}

/** The command line of a machine without any network; its first serial line is on QEMU's own stdin and stdout. */
export function machineArguments(options: {
  /** What QEMU calls itself in the host's process list. */
  readonly title: string;
  readonly definition: MachineDefinition;
  /** By the disk's name in the definition. */
  readonly nodes: ReadonlyMap<string, BlockNode>;
  readonly qmpPath: string;
  readonly controlPath: string;
  readonly accelerator: Accelerator;
}): readonly string[] {
  const { definition } = options;
  return [
    ...["-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-no-reboot"],
    ...["-name", escapeComma(options.title)],
    ...["-machine", `${definition.machineType},accel=${options.accelerator}`, "-cpu", "max"],
    ...["-smp", String(definition.cpuCount)],
    ...["-m", `${Math.ceil(definition.memoryBytes / MIB)}M`],
    // signal=off: an interrupt typed at our terminal is ours to handle, not QEMU's.
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-qmp", `unix:${escapeComma(options.qmpPath)},server=on,wait=off`],
    ...["-qmp", `unix:${escapeComma(options.controlPath)},server=on,wait=off`],
    ...definition.disks.flatMap((disk) => diskArguments(disk, options.nodes.get(disk.name))),
  ];
}

function diskArguments(disk: MachineDefinitionDisk, node: BlockNode | undefined) {
  assert(node !== undefined, `no node for the disk ${disk.name}`);
  const nodeName = node["node-name"] ?? disk.name;
  const device = [`virtio-blk-pci,drive=${nodeName},id=disk-${disk.name}`];
  if (disk.serial !== null) device.push(`serial=${disk.serial}`);
  if (disk.bootIndex !== null) device.push(`bootindex=${disk.bootIndex}`);
  const tree = JSON.stringify({ ...node, "node-name": nodeName });
  return ["-blockdev", tree, "-device", device.join(",")];
}

/** A comma inside a value is written twice (qemu(1), "-drive"). */
function escapeComma(text: string): string {
  return text.replaceAll(",", ",,");
}

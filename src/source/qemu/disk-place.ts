import { Fault } from "../../base/fault.ts";
import type { DiskName, GroupName } from "../../core/ids.ts";
import { diskSizeBytesMax } from "../../core/limits.ts";
import type { BlockGraphNode, DirtyBitmap, GuestDrive } from "../../qemu/block-graph.ts";
import { ownPrefix } from "../../qemu/own-names.ts";
import type { QemuDiskSettings, QemuMachineSettings } from "./settings.ts";

/** A disk of the group as a QEMU has it now. */
export interface PlacedDisk {
  readonly name: DiskName;
  /** The node that bitmaps are on: the format layer. */
  readonly node: string;
  /** Id or path of the guest's device, "" when unknown. */
  readonly device: string;
  readonly sizeBytes: number;
  /** Whether bitmaps of ours outlive QEMU. */
  readonly isPersistent: boolean;
  readonly bitmaps: readonly DirtyBitmap[];
}

/** The name of a machine's disk in the group. */
export function diskNameOf(machine: QemuMachineSettings, disk: QemuDiskSettings): DiskName {
  return `${machine.name}/${disk.name}` as DiskName;
}

/** Block drivers whose images keep bitmaps (QAPI, `block-dirty-bitmap-add`, "persistent"). */
const persistentDrivers = ["qcow2"];
/** Drivers beneath a format layer; a disk may also be one of these directly. */
const protocolDrivers = ["file", "host_device", "nvme", "nbd", "rbd", "iscsi"];

/**
 * Finds the machine's configured disks in a QEMU's block graph. DISK_MISSING, DISK_UNSUPPORTED (a persistent bitmap is asked
 * of an image that cannot hold one).
 */
export function placeDisks(
  group: GroupName,
  machine: QemuMachineSettings,
  graph: { readonly nodes: readonly BlockGraphNode[]; readonly drives: readonly GuestDrive[] },
): readonly PlacedDisk[] {
  const nodes = graph.nodes.filter((node) => !node.name.startsWith(ownPrefix(group)));
  return machine.disks.map((disk) => {
    const name = diskNameOf(machine, disk);
    const node = findNode(disk, nodes, graph.drives);
    if (node === null) {
      const message = `${name}: no ${describe(disk)} in the QEMU of ${machine.name}`;
      throw new Fault("DISK_MISSING", message, { disk: name, machine: machine.name });
    }
    requireSize(name, node);
    requireTracking(name, node, disk.tracking);
    return {
      name,
      node: node.name,
      device: graph.drives.find((drive) => drive.node === node.name)?.device ?? "",
      sizeBytes: node.sizeBytes,
      isPersistent: disk.tracking === "persistent",
      bitmaps: node.bitmaps,
    };
  });
}

function findNode(
  disk: QemuDiskSettings,
  nodes: readonly BlockGraphNode[],
  drives: readonly GuestDrive[],
): BlockGraphNode | null {
  const named = (name: string | null | undefined) =>
    nodes.find((node) => node.name === name) ?? null;
  if (disk.node !== undefined) return named(disk.node);
  if (disk.device !== undefined) {
    return named(drives.find((drive) => isDevice(drive.device, disk.device ?? ""))?.node);
  }
  if (disk.drive !== undefined) {
    return named(drives.find((drive) => drive.drive === disk.drive)?.node);
  }
  const showing = nodes.filter((node) => node.filename === disk.image);
  return (
    showing.find((node) => drives.some((drive) => drive.node === node.name)) ??
    showing.find((node) => !protocolDrivers.includes(node.driver)) ??
    showing[0] ??
    null
  );
}

/** A device goes by its id or its path; a virtio disk's drive is on a part of it. */
function isDevice(found: string, wanted: string): boolean {
  const path = wanted.startsWith("/") ? wanted : `/machine/peripheral/${wanted}`;
  return [wanted, path, `${path}/virtio-backend`].includes(found);
}

function describe(disk: QemuDiskSettings): string {
  if (disk.node !== undefined) return `node ${disk.node}`;
  if (disk.device !== undefined) return `drive of device ${disk.device}`;
  if (disk.drive !== undefined) return `drive ${disk.drive}`;
  return `node that shows ${disk.image ?? "an image"}`;
}

function requireSize(name: DiskName, node: BlockGraphNode): void {
  if (node.sizeBytes > 0 && node.sizeBytes % 512 === 0 && node.sizeBytes <= diskSizeBytesMax)
    return;
  const message = `${name}: a size of ${node.sizeBytes} bytes cannot be replicated`;
  throw new Fault("DISK_UNSUPPORTED", message, { disk: name, sizeBytes: node.sizeBytes });
}

function requireTracking(
  name: DiskName,
  node: BlockGraphNode,
  tracking: QemuDiskSettings["tracking"],
): void {
  if (tracking === "transient" || persistentDrivers.includes(node.driver)) return;
  const message = `${name}: a ${node.driver} image cannot hold a persistent bitmap`;
  throw new Fault("DISK_UNSUPPORTED", message, { disk: name, format: node.driver });
}

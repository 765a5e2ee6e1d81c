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

interface Graph {
  readonly nodes: readonly BlockGraphNode[];
  readonly drives: readonly GuestDrive[];
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
  graph: Graph,
): readonly PlacedDisk[] {
  const nodes = graph.nodes.filter((node) => !node.name.startsWith(ownPrefix(group)));
  return machine.disks.map((disk) => {
    const name = diskNameOf(machine, disk);
    const node = findNode(disk, nodes, graph);
    if (node === null) {
      const message = `${name}: no ${describe(disk)} in the QEMU of ${machine.name}`;
      throw new Fault("DISK_MISSING", message, { disk: name, machine: machine.name });
    }
    requireSize(name, node);
    requireTracking(name, node, disk.tracking);
    requireShown(name, node, graph);
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
  graph: Graph,
): BlockGraphNode | null {
  const { node: nodeName, device, drive: driveName, image } = disk;
  if (nodeName !== undefined) return nodes.find((node) => node.name === nodeName) ?? null;
  if (device !== undefined || driveName !== undefined) {
    const drive = graph.drives.find((found) =>
      device === undefined ? found.drive === driveName : isDevice(found.device, device),
    );
    const top = graph.nodes.find((node) => node.name === drive?.node);
    // While a point is open a filter of ours is the top; it shows the same file as the disk beneath it.
    if (top === undefined || nodes.includes(top)) return top ?? null;
    return formatNode(nodes, top.filename);
  }
  const tops = graph.drives.map((drive) => drive.node);
  const top = nodes.find((node) => node.filename === image && tops.includes(node.name));
  return top ?? formatNode(nodes, image);
}

/** The upper one of the nodes that show a file. */
function formatNode(
  nodes: readonly BlockGraphNode[],
  filename: string | undefined,
): BlockGraphNode | null {
  const showing = nodes.filter((node) => node.filename === filename);
  const isFormat = (node: BlockGraphNode) => !protocolDrivers.includes(node.driver);
  return showing.find(isFormat) ?? showing[0] ?? null;
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

/**
 * Whether the guest's writes go through the node: it is the top of a drive, or beneath a filter, which shows the same file. Not
 * when another tool has put an overlay above it or moved the drive to another image: its bitmaps see nothing then. A QEMU
 * without drives (a storage daemon) is believed.
 */
export function isShown(
  node: { readonly name: string; readonly filename: string },
  graph: Graph,
): boolean {
  const tops = graph.drives.flatMap((drive) => (drive.node === null ? [] : [drive.node]));
  if (tops.length === 0 || tops.includes(node.name)) return true;
  return graph.nodes.some(
    ({ name, filename }) => tops.includes(name) && filename === node.filename,
  );
}

function requireShown(name: DiskName, node: BlockGraphNode, graph: Graph): void {
  if (!node.isReadOnly && isShown(node, graph)) return;
  const message = `${name}: the guest does not write to node ${node.name}; was a snapshot made, or the disk moved?`;
  throw new Fault("DISK_MISSING", message, { disk: name, node: node.name });
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

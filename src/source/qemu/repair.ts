import { Fault, isFault } from "../../base/fault.ts";
import type { GroupName, PointId } from "../../core/ids.ts";
import type { DiskTracking } from "../../core/source.ts";
import { type DirtyBitmap, parseIds, parseNodes } from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import { ownPrefix } from "../../qemu/own-names.ts";
import { removeOwnThings } from "../../qemu/own-things.ts";
import type { Session } from "./session.ts";
import { isStale, trackingOf } from "./tracking.ts";

/** How a machine's disks stand, and what was removed. */
export interface MachineRepair {
  readonly disks: readonly DiskTracking[];
  readonly removed: readonly string[];
}

/**
 * Removes from one QEMU what an earlier life of ours left for the group, and nothing else; then says how its disks stand. What
 * was removed is read back: QEMU's word alone is not taken for it.
 */
export async function repairMachine(
  session: Session,
  options: {
    readonly group: GroupName;
    readonly keep: readonly PointId[];
    readonly signal: AbortSignal;
  },
): Promise<MachineRepair> {
  const { group, keep, signal } = options;
  const removed = await removePointInTime(session, group, signal);
  const before = await session.inspect(signal);
  const diskOf = new Map(before.disks.map((disk) => [disk.node, disk.name]));
  const stale = before.nodes.flatMap((node) =>
    node.bitmaps
      .filter((bitmap) => isStale(group, bitmap, keep, diskOf.get(node.name) ?? null))
      .map((bitmap) => ({ node: node.name, name: bitmap.name, isDisk: diskOf.has(node.name) })),
  );
  for (const bitmap of stale) {
    if (await removeBitmap(session, bitmap, signal)) {
      removed.push(`bitmap ${bitmap.name} of node ${bitmap.node}`);
    }
  }
  const after = stale.length > 0 ? await session.inspect(signal) : before;
  const bitmapsBefore = new Map<string, readonly DirtyBitmap[]>(
    before.disks.map((disk) => [disk.node, disk.bitmaps]),
  );
  return {
    removed: removed.map((what) => `${session.machine.name}: ${what}`),
    disks: after.disks.map((disk) => {
      const left = disk.bitmaps.find((bitmap) => isStale(group, bitmap, keep, disk.name));
      if (left) throw stillThere(disk.node, left.name);
      return trackingOf(group, disk, keep, bitmapsBefore.get(disk.node) ?? []);
    }),
  };
}

/** Removes exports, jobs and overlays of the group, whichever life of ours made them; resolves to their names. */
export async function removePointInTime(
  session: Session,
  group: GroupName,
  signal: AbortSignal,
): Promise<string[]> {
  const isOurs = (name: string) => name.startsWith(ownPrefix(group));
  const exports = parseIds(await session.run(commands.queryExports(), signal)).filter(isOurs);
  const jobs = parseIds(await session.run(commands.queryJobs(), signal)).filter(isOurs);
  const all = parseNodes(await session.run(commands.queryNodes(), signal));
  // The filter goes with its job, the file with the overlay above it.
  const nodes = all
    .filter((node) => isOurs(node.name) && node.driver === "qcow2")
    .map((node) => node.name);
  await removeOwnThings(session.qmp, { exports, jobs, nodes, bitmaps: [] });
  return [
    ...exports.map((id) => `export ${id}`),
    ...jobs.map((id) => `job ${id}`),
    ...nodes.map((name) => `node ${name}`),
  ];
}

/** False when QEMU refused on a node that is no disk of the group any more: a read-only image beneath another keeps its own. */
async function removeBitmap(
  session: Session,
  bitmap: { readonly node: string; readonly name: string; readonly isDisk: boolean },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await session.run(commands.removeBitmap(bitmap.node, bitmap.name), signal);
    return true;
  } catch (error) {
    if (isFault(error, "QMP_REFUSED") && !bitmap.isDisk) return false;
    throw error;
  }
}

function stillThere(node: string, bitmap: string): Fault {
  const message = `bitmap ${bitmap} of node ${node} is still there after QEMU removed it`;
  const command = "block-dirty-bitmap-remove";
  return new Fault("QMP_REFUSED", message, { command, class: "GenericError", desc: message });
}

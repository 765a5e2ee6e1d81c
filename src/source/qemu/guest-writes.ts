import type { GuestWrites } from "../../core/source.ts";
import { type DeviceWrites, parseBlockStats } from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import type { SourceContext } from "./context.ts";
import type { PlacedDisk } from "./disk-place.ts";
import type { Session } from "./session.ts";

/**
 * What the guests' devices count of their own writes, over all disks of all machines that run. Null when none runs or a disk's
 * device is not told.
 */
export async function countGuestWrites(
  { options, sessions }: SourceContext,
  signal: AbortSignal,
): Promise<GuestWrites | null> {
  const machines = await Promise.all(
    options.machines.map(async (machine) => {
      const session = await sessions.running(machine, signal);
      return session === null ? [] : await writesOf(session, signal);
    }),
  );
  const devices = machines.flat();
  if (devices.length === 0) return null;
  const sum = { operations: 0, bytes: 0, totalTimeNs: 0 };
  for (const device of devices) {
    if (device === null) return null;
    sum.operations += device.operations;
    sum.bytes += device.bytes;
    sum.totalTimeNs += device.totalTimeNs;
  }
  return sum;
}

async function writesOf(
  session: Session,
  signal: AbortSignal,
): Promise<readonly (DeviceWrites | null)[]> {
  const { disks } = await session.graph(signal);
  const answer = await session.runIfKnown(commands.queryBlockStats(), signal);
  const devices = answer === null ? [] : parseBlockStats(answer);
  return disks.map((disk) => devices.find((device) => isOf(device, disk)) ?? null);
}

/** A device goes by its own name; the node only while no filter stands above it. */
function isOf(device: DeviceWrites, disk: PlacedDisk): boolean {
  return disk.device === "" ? device.node === disk.node : device.device === disk.device;
}

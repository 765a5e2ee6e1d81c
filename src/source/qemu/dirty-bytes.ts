import type { DiskName, PointId } from "../../core/ids.ts";
import { machineOf } from "../../core/ids.ts";
import type { SourceContext } from "./context.ts";
import { blockStart } from "./dirty-extents.ts";
import type { PlacedDisk } from "./disk-place.ts";
import { recordingSince } from "./tracking.ts";

/**
 * What changed on all disks, by the counts of the bitmaps that record since those points; null when one cannot be had. Machines
 * are asked at the same time.
 */
export async function countDirtyBytes(
  { options, sessions }: SourceContext,
  since: ReadonlyMap<DiskName, PointId>,
  signal: AbortSignal,
): Promise<number | null> {
  const names = [...since.keys()];
  const machines = options.machines.filter(({ name }) =>
    names.some((disk) => machineOf(disk) === name),
  );
  const counted = await Promise.all(
    machines.map(async (machine) => {
      const session = await sessions.running(machine, signal);
      return session === null ? [] : await session.count(signal);
    }),
  );
  const disks = new Map(counted.flat().map((disk) => [disk.name, disk]));
  let totalBytes = 0;
  for (const [name, id] of since) {
    const disk = disks.get(name);
    const bytes = disk ? dirtyBytesOf(options.group, disk, id) : null;
    if (bytes === null) return null;
    totalBytes += bytes;
  }
  return totalBytes;
}

/** Null when the disk has no good bitmap since that point. */
function dirtyBytesOf(
  group: SourceContext["options"]["group"],
  disk: PlacedDisk,
  id: PointId,
): number | null {
  const recording = recordingSince(group, disk, id);
  if (recording === null) return null;
  const bitmap = disk.bitmaps.find(({ name }) => name === recording.name);
  if (bitmap === undefined) return null;
  // QEMU calls a grown disk's tail clean, and has forgotten a shrunk one's: both are changes.
  const [shorterBytes, longerBytes] = [recording.sizeBytes, disk.sizeBytes].sort((a, b) => a - b);
  if (shorterBytes === longerBytes) return bitmap.dirtyBytes;
  return bitmap.dirtyBytes + (longerBytes ?? 0) - blockStart(shorterBytes ?? 0);
}

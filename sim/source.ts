import { Fault } from "../src/base/fault.ts";
import { type DiskName, type MachineName, machineOf, type PointId } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { DiskTracking, Source } from "../src/core/source.ts";
import { bitmapName, changedBlocks, isBitmapOfGroup } from "./bitmap.ts";
import {
  addBitmap,
  type Connection,
  connect,
  machineGone,
  type SimSourceOptions,
  scratchPrefix,
} from "./connection.ts";
import type { EstateDisk } from "./estate.ts";
import { openLiveDisk } from "./live-disk.ts";
import { freezeGroup } from "./snapshot.ts";

/** A virtual source with QEMU's semantics; the estate outlives it. */
export function simSource(options: SimSourceOptions): Source {
  const connection = connect(options);
  const { estate } = options;
  return {
    traits: { tracker: "persistent", hasMultiMachineInstant: true, canReadOffline: true },
    repair: async ({ keep, signal }) => {
      const removed: string[] = [];
      for (const name of options.disks) connection.findDisk(name);
      for (const machine of connection.machines()) {
        for (const disk of estate.disksOf(machine)) {
          removed.push(...(await repairDisk(connection, disk, keep, signal)));
        }
      }
      await connection.command("source.repair scratch", signal, () => {
        for (const file of estate.scratchFiles) {
          if (!file.startsWith(scratchPrefix(options.group))) continue;
          estate.scratchFiles.delete(file);
          removed.push(`scratch file ${file}`);
        }
      });
      const disks = await connection.command("source.repair query", signal, () =>
        options.disks.map((name) => trackingOf(connection, name, keep)),
      );
      return { disks, removed };
    },
    track: async (disks, id, { signal }) => {
      for (const name of disks) {
        await connection.command(`source.track ${name}`, signal, () => {
          const disk = connection.findDisk(name);
          const isRunning = estate.machine(machineOf(name)).isRunning;
          if (!disk.canPersist && !isRunning) throw machineGone(name);
          const found = disk.bitmaps.get(bitmapName(options.group, id, name));
          if (found?.isRecording) return;
          if (found) throw new Fault("QMP_REFUSED", `bitmap ${found.name} is inconsistent`);
          addBitmap(disk, bitmapName(options.group, id, name), { isRecording: true, isRunning });
        });
      }
    },
    openLive: (disk, { signal }) => openLiveDisk(connection, disk, signal),
    freeze: (request) => freezeGroup(connection, request),
    dirtyBytes: ({ since, signal }) =>
      connection.command("source.dirty", signal, () => dirtyBytes(connection, since)),
    guestWrites: async () => null,
    pause: ({ signal }) => pauseGroup(connection, signal),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function repairDisk(
  connection: Connection,
  disk: EstateDisk,
  keep: readonly PointId[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { group, estate } = connection;
  const removed: string[] = [];
  const kept = keep.map((id) => bitmapName(group, id, disk.name));
  const fleece = disk.fleece;
  if (fleece?.owner === group) {
    await connection.command(`source.repair fleece ${disk.name}`, signal, () => {
      if (disk.fleece !== fleece) return;
      disk.fleece = null;
      estate.scratchFiles.delete(fleece.scratchFile);
    });
    removed.push(`point in time on ${disk.name}`);
  }
  for (const bitmap of [...disk.bitmaps.values()]) {
    if (!isBitmapOfGroup(group, bitmap.name)) continue;
    if (kept.includes(bitmap.name) && isGood(bitmap)) continue;
    await connection.command(`source.repair remove ${bitmap.name}`, signal, () => {
      disk.bitmaps.delete(bitmap.name);
    });
    removed.push(`bitmap ${bitmap.name} on ${disk.name}`);
  }
  return removed;
}

function isGood(bitmap: { isRecording: boolean; isInconsistent: boolean }): boolean {
  return bitmap.isRecording && !bitmap.isInconsistent;
}

function trackingOf(
  connection: Connection,
  name: DiskName,
  keep: readonly PointId[],
): DiskTracking {
  const found = connection.findDisk(name);
  const disk = { name, sizeBytes: found.image.sizeBytes };
  const kept = keep.filter((id) => {
    const bitmap = found.bitmaps.get(bitmapName(connection.group, id, name));
    return bitmap !== undefined && isGood(bitmap);
  });
  const [since] = kept;
  if (since !== undefined) return { disk, state: "tracked", since, kept };
  return { disk, state: "untracked", cause: "no good bitmap of a wanted point is there" };
}

/** All counts at one moment; null when one cannot be had. */
function dirtyBytes(
  { group, estate, findDisk }: Connection,
  since: ReadonlyMap<DiskName, PointId>,
): number | null {
  let sum = 0;
  for (const [name, id] of since) {
    const disk = findDisk(name);
    const bitmap = disk.bitmaps.get(bitmapName(group, id, name));
    if (!bitmap || !isGood(bitmap) || !estate.machine(machineOf(name)).isRunning) return null;
    // What is cut off has changed, too.
    const hasShrunk = bitmap.sizeBytes > disk.image.sizeBytes;
    const blocks = changedBlocks(bitmap, disk.image).length + (hasShrunk ? 1 : 0);
    sum += blocks * blockSizeBytes;
  }
  return sum;
}

async function pauseGroup(
  connection: Connection,
  signal: AbortSignal,
): Promise<readonly MachineName[]> {
  const paused: MachineName[] = [];
  for (const name of connection.machines()) {
    await connection.command(`source.pause ${name}`, signal, () => {
      const machine = connection.estate.machine(name);
      if (!machine.isRunning || machine.isPausedForGood) return;
      machine.isPausedForGood = true;
      paused.push(name);
    });
  }
  return paused;
}

import assert from "node:assert/strict";
import { Fault, isFault } from "../src/base/fault.ts";
import type { Extent } from "../src/core/extent.ts";
import { type DiskName, type MachineName, machineOf, type PointId } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { Instant } from "../src/core/point.ts";
import type { Snapshot } from "../src/core/source.ts";
import { bitmapName, changedBlocks, frozenBitmapName } from "./bitmap.ts";
import { addBitmap, type Connection, machineGone, scratchPrefix, sessionOf } from "./connection.ts";
import type { EstateDisk, Fleece } from "./estate.ts";
import { runsOf } from "./live-disk.ts";

export interface FreezeRequest {
  readonly id: PointId;
  readonly since: ReadonlyMap<DiskName, PointId>;
  readonly signal: AbortSignal;
}

/** A point being held: what was opened on which machine. */
interface Held {
  readonly request: FreezeRequest;
  readonly fleeces: Map<DiskName, Fleece>;
  readonly dirty: Map<DiskName, readonly number[]>;
  readonly sessions: Map<MachineName, string>;
  readonly lost: AbortController;
}

/** One instant over all disks: one atomic transaction per machine, machines held still together when there are several. */
export async function freezeGroup(
  connection: Connection,
  request: FreezeRequest,
): Promise<Snapshot> {
  const { clock, estate } = connection;
  for (const name of connection.disks) connection.findDisk(name);
  const held: Held = {
    request,
    fleeces: new Map(),
    dirty: new Map(),
    sessions: new Map(),
    lost: new AbortController(),
  };
  const machines = connection.machines();
  const lowerMs = clock.nowMs();
  try {
    if (machines.length > 1) await pause(connection, machines, request.signal);
    for (const machine of machines) {
      const label = `freeze.transaction ${machine} ${request.id}`;
      await connection.command(label, request.signal, () => {
        transact(connection, held, machine);
        if (held.sessions.size === machines.length) tellInstant(connection, held);
      });
    }
    if (machines.length > 1) await resume(connection, machines);
  } catch (error) {
    estate.releaseBarrier();
    await undo(connection, held);
    throw error;
  }
  const instant = { lowerMs, upperMs: clock.nowMs(), clockErrorMs: null };
  return snapshotOf(connection, held, instant);
}

async function pause(
  { command, estate }: Connection,
  machines: readonly MachineName[],
  signal: AbortSignal,
): Promise<void> {
  for (const machine of machines) {
    await command(`freeze.pause ${machine}`, signal, () => {
      estate.machine(machine).isPaused = true;
    });
  }
}

async function resume({ command, estate }: Connection, machines: readonly MachineName[]) {
  for (const machine of machines) {
    await command(`freeze.resume ${machine}`, null, () => {
      estate.machine(machine).isPaused = false;
    });
  }
}

function transact(connection: Connection, held: Held, machine: MachineName): void {
  const { estate, group } = connection;
  const { id, since } = held.request;
  const disks = connection.disks
    .filter((name) => machineOf(name) === machine)
    .map((name) => connection.findDisk(name));
  // Everything is checked before anything is done: a transaction that fails leaves no trace.
  const sources = disks.map((disk) => {
    const from = since.get(disk.name);
    assert(from, `freeze without a since for ${disk.name}`);
    const bitmap = disk.bitmaps.get(bitmapName(group, from, disk.name));
    if (!bitmap?.isRecording || bitmap.isInconsistent) {
      throw new Fault("BITMAP_LOST", `${disk.name}: no bitmap of ${from}`, { disk: disk.name });
    }
    if (disk.fleece) throw new Fault("QMP_REFUSED", `${disk.name} is being read already`);
    if (disk.bitmaps.has(bitmapName(group, id, disk.name))) {
      throw new Fault("QMP_REFUSED", `${disk.name}: bitmap of ${id} is there already`);
    }
    return { disk, bitmap };
  });
  const isRunning = estate.machine(machine).isRunning;
  for (const { disk, bitmap } of sources) {
    const dirty = changedBlocks(bitmap, disk.image);
    addBitmap(disk, bitmapName(group, id, disk.name), { isRecording: true, isRunning });
    addBitmap(disk, frozenBitmapName(group, id, disk.name), {
      isRecording: false,
      isRunning,
      dirty,
    });
    const fleece = fleeceOf(connection, held, disk);
    disk.fleece = fleece;
    estate.scratchFiles.add(fleece.scratchFile);
    held.fleeces.set(disk.name, fleece);
    held.dirty.set(disk.name, dirty);
  }
  held.sessions.set(machine, sessionOf(estate.machine(machine)));
}

function fleeceOf(connection: Connection, held: Held, disk: EstateDisk): Fleece {
  const { group, scratchBlocksMax } = connection;
  return {
    owner: group,
    at: disk.image.capture(),
    copied: new Set(),
    scratchFile: `${scratchPrefix(group)}${disk.name}-${held.request.id}`,
    scratchBlocksMax,
    onLost: (cause) =>
      held.lost.abort(
        cause === "scratch full"
          ? new Fault("SCRATCH_FULL", `${disk.name}: scratch is full`, { disk: disk.name })
          : machineGone(disk.name),
      ),
  };
}

function tellInstant(connection: Connection, held: Held): void {
  const images = [...held.fleeces].map(([name, fleece]) => [name, fleece.at] as const);
  connection.onInstant(held.request.id, new Map(images));
}

/** Takes back what a failed or given up point left: bitmaps N and F, the fleece and its scratch. What fails stays for `repair`. */
async function undo(connection: Connection, held: Held): Promise<void> {
  const { group } = connection;
  const { id } = held.request;
  for (const machine of held.sessions.keys()) {
    const undone = connection.command(`giveup ${machine} ${id}`, null, () => {
      requireSession(connection, held, machine);
      for (const disk of heldDisks(connection, held, machine)) {
        dropFleece(connection, held, disk);
        disk.bitmaps.delete(bitmapName(group, id, disk.name));
        disk.bitmaps.delete(frozenBitmapName(group, id, disk.name));
      }
    });
    await undone.catch(ignoreFault);
  }
}

function ignoreFault(error: unknown): void {
  if (!isFault(error)) throw error;
}

function requireSession(connection: Connection, held: Held, machine: MachineName): void {
  const isSame = sessionOf(connection.estate.machine(machine)) === held.sessions.get(machine);
  if (!isSame) throw new Fault("QMP_CLOSED", `${machine} is gone`, { machine });
}

function heldDisks(connection: Connection, held: Held, machine: MachineName): EstateDisk[] {
  return [...held.fleeces.keys()]
    .filter((name) => machineOf(name) === machine && connection.estate.disks.has(name))
    .map((name) => connection.estate.disk(name));
}

function dropFleece({ estate }: Connection, held: Held, disk: EstateDisk): void {
  const fleece = held.fleeces.get(disk.name);
  if (!fleece) return;
  if (disk.fleece === fleece) disk.fleece = null;
  estate.scratchFiles.delete(fleece.scratchFile);
}

function snapshotOf(connection: Connection, held: Held, instant: Instant): Snapshot {
  const { group, steps } = connection;
  const { id, since } = held.request;
  let isAcknowledged = false;
  let isReleased = false;
  const imageOf = (name: DiskName) => {
    held.lost.signal.throwIfAborted();
    assert(!isReleased, "read after release");
    const fleece = held.fleeces.get(name);
    assert(fleece, `${name} is not in the snapshot`);
    return fleece.at;
  };
  const release = async () => {
    if (isReleased) return;
    isReleased = true;
    for (const machine of held.sessions.keys()) {
      await connection.command(`release ${machine} ${id}`, null, () => {
        for (const disk of heldDisks(connection, held, machine)) dropFleece(connection, held, disk);
      });
    }
  };
  return {
    id,
    instant,
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "nothing else was asked for",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [...held.fleeces].map(([name, { at }]) => ({ name, sizeBytes: at.sizeBytes })),
    machines: [...held.sessions.keys()].map((name) => ({ name, platform: "sim", definition: {} })),
    lost: held.lost.signal,
    async *extents(name) {
      await steps.pass(`snapshot.extents ${name}`);
      yield* dirtyExtents(imageOf(name), held.dirty.get(name) ?? []);
    },
    read: async (name, offsetBytes, into) => {
      await steps.pass(`snapshot.read ${name} ${offsetBytes}`);
      imageOf(name).read(offsetBytes, into);
    },
    release,
    forget: async (options) => {
      const keep = options?.keep ?? null;
      isAcknowledged = true;
      await release();
      for (const machine of held.sessions.keys()) {
        await connection.command(`forget ${machine} ${id}`, null, () => {
          requireSession(connection, held, machine);
          for (const disk of heldDisks(connection, held, machine)) {
            const from = since.get(disk.name) as PointId;
            if (from !== keep) disk.bitmaps.delete(bitmapName(group, from, disk.name));
            disk.bitmaps.delete(frozenBitmapName(group, id, disk.name));
          }
        });
      }
    },
    [Symbol.asyncDispose]: async () => {
      isReleased = true;
      if (!isAcknowledged) await undo(connection, held);
    },
  };
}

function dirtyExtents(image: Fleece["at"], dirty: readonly number[]): Extent[] {
  const extents: Extent[] = [];
  for (const block of dirty) {
    const offsetBytes = block * blockSizeBytes;
    const lengthBytes = Math.min(blockSizeBytes, image.sizeBytes - offsetBytes);
    if (lengthBytes <= 0) continue;
    const [run] = runsOf(image, offsetBytes, lengthBytes);
    const last = extents.at(-1);
    assert(run);
    if (last?.state === run.state && last.offsetBytes + last.lengthBytes === offsetBytes) {
      extents[extents.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
    } else {
      extents.push(run);
    }
  }
  return extents;
}

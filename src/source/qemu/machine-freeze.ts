import assert from "node:assert/strict";
import { Fault, isFault } from "../../base/fault.ts";
import type { DiskName, GroupName, PointId } from "../../core/ids.ts";
import { frozenBitmapName, recordingBitmapName } from "../../qemu/bitmap-name.ts";
import { parseDrives, parseNodes } from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import { ownNames } from "../../qemu/own-names.ts";
import { type OwnThings, removeOwnThings } from "../../qemu/own-things.ts";
import type { QmpAnswer } from "../../qemu/qmp.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import { isShown, type PlacedDisk } from "./disk-place.ts";
import type { ScratchFile } from "./scratch.ts";
import type { Hold } from "./sessions.ts";
import { isGood, type RecordingBitmap, recordingSince } from "./tracking.ts";

/** One disk of a point: what its changes are counted from, and what is made for it. */
export interface FreezeDisk {
  readonly disk: PlacedDisk;
  readonly since: RecordingBitmap;
  /** Null for a stopped machine: nobody overwrites anything. */
  readonly scratch: ScratchFile | null;
  readonly names: ReturnType<typeof ownNames>;
  /** Name of the bitmap that records from the point's instant on. */
  readonly recording: string;
  readonly frozen: string;
}

/** A frozen disk as QEMU confirmed it. */
export interface FrozenDisk extends FreezeDisk {
  /** In whole blocks, without a grown disk's tail. */
  readonly dirtyBytes: number;
}

/** Plans the freeze of a machine's disks. BITMAP_LOST (details.disk) when a disk has no good bitmap of its `since`. */
export function planFreeze(options: {
  readonly group: GroupName;
  readonly id: PointId;
  readonly since: ReadonlyMap<DiskName, PointId>;
  readonly disks: readonly PlacedDisk[];
}): readonly Omit<FreezeDisk, "scratch">[] {
  const { group, id } = options;
  return options.disks.map((disk) => {
    const sinceId = options.since.get(disk.name);
    assert(sinceId !== undefined, `freeze without a since for ${disk.name}`);
    const since = recordingSince(group, disk, sinceId);
    if (since === null) throw bitmapLost(disk.name, sinceId);
    return {
      disk,
      since,
      names: ownNames(group, disk.name),
      recording: recordingBitmapName(group, id, disk),
      frozen: frozenBitmapName(group, id),
    };
  });
}

/**
 * One machine's part of a point:
 *
 *   planned ─prepare─▶ ─transact─▶ frozen ─expose─▶ readable ─release─▶ released ─┬─ forget: since's bitmap goes
 *      └───────────────── undo, at any place: overlay and both bitmaps go ◀───────┴─ give up: the point's own goes
 *
 * All steps but `transact` can be sent in the same burst with it.
 */
export class MachineFreeze {
  readonly hold: Hold;
  readonly #disks: readonly FreezeDisk[];

  constructor(hold: Hold, disks: readonly FreezeDisk[]) {
    this.hold = hold;
    this.#disks = disks;
  }

  get disks(): readonly FreezeDisk[] {
    return this.#disks;
  }

  /** The overlays, not yet in use. */
  prepare(): readonly QmpCommand[] {
    return this.#disks.flatMap(({ disk, scratch, names }) => {
      if (scratch === null) return [];
      const { fleeceNode, scratchNode } = names;
      const { path, thresholdBytes } = scratch;
      const add = commands.addFleece({ fleeceNode, scratchNode, path, backing: disk.node });
      if (thresholdBytes === null) return [add];
      return [add, commands.setWriteThreshold(scratchNode, thresholdBytes)];
    });
  }

  /**
   * The instant: either all of it happens on all disks of the machine, or nothing. Preparing a copy lets the disk's writes under
   * way end and holds the disk still until all is done. So recording begins before the first copy, and what is dirty is read
   * behind the last: a write that ended in between is in the copy, and a later one on another disk may depend on it.
   */
  transact(): QmpCommand {
    const recordings = this.#disks.map(({ disk, recording }) =>
      commands.addRecordingBitmap(disk.node, recording, disk.isPersistent),
    );
    const copies = this.#disks.flatMap(({ disk, scratch, names }) => {
      if (scratch === null) return [];
      const { job, fleeceNode: target, filterNode } = names;
      return [commands.startCopyBeforeWrite({ job, node: disk.node, target, filterNode })];
    });
    const dirty = this.#disks.flatMap(({ disk, since, frozen }) => [
      commands.addFrozenBitmap(disk.node, frozen),
      commands.mergeBitmap(disk.node, since.name, frozen),
    ]);
    return commands.transaction([...recordings, ...copies, ...dirty]);
  }

  /** The exports, and the question what QEMU made of it all. */
  expose(): readonly QmpCommand[] {
    const exports = this.#disks.map(({ disk, scratch, names, frozen }) => {
      const node = scratch === null ? disk.node : names.fleeceNode;
      return commands.addExport(node, names.pointExport, [frozen]);
    });
    const { isLive } = this.hold.session;
    return [...exports, commands.queryNodes(), ...(isLive ? [commands.queryDrives()] : [])];
  }

  /**
   * Reads the answers to a burst that ended with `expose`. BITMAP_LOST when a bitmap is not as it has to be, or when the guest's
   * writes do not go through the node that it is on.
   */
  confirm(answers: readonly QmpAnswer[]): readonly FrozenDisk[] {
    const { session } = this.hold;
    const values = valuesOf(answers);
    const drives = session.isLive ? parseDrives(values.at(-1)) : [];
    const nodes = parseNodes(values.at(session.isLive ? -2 : -1));
    session.learn(nodes);
    return this.#disks.map((disk) => {
      const node = nodes.find(({ name }) => name === disk.disk.node);
      const isWritten = node && !node.isReadOnly && isShown(node, { nodes, drives });
      const bitmaps = isWritten ? node.bitmaps : [];
      const named = (name: string) => bitmaps.find((bitmap) => bitmap.name === name);
      const since = named(disk.since.name);
      const recording = named(disk.recording);
      const frozen = named(disk.frozen);
      const isWhole = since && isGood(since) && recording && isGood(recording) && frozen;
      if (!isWhole) throw bitmapLost(disk.disk.name, disk.since.id);
      return { ...disk, dirtyBytes: frozen.dirtyBytes };
    });
  }

  /** Removes all that reading needs, keeps both recording bitmaps. Idempotent. */
  async release(onStep?: OnStep): Promise<void> {
    await removeOwnThings(this.hold.session.qmp, this.#transient([]), onStep);
  }

  /**
   * Removes all of the point, also when only part of it came to be; its recording bitmaps only when they are not the vault's
   * head's by now. QEMU gone is no error: nothing is left to remove.
   */
  async undo(options: { readonly keepsBitmaps: boolean }): Promise<void> {
    const { session } = this.hold;
    session.doubt();
    const recordings = options.keepsBitmaps
      ? []
      : this.#disks.map(({ disk, recording }) => ({ node: disk.node, name: recording }));
    try {
      await removeOwnThings(session.qmp, this.#transient(recordings));
    } catch (error) {
      if (!isFault(error, "QMP_CLOSED")) throw error;
    }
  }

  #transient(also: OwnThings["bitmaps"]): OwnThings {
    const live = this.#disks.filter(({ scratch }) => scratch !== null);
    return {
      exports: this.#disks.map(({ names }) => names.pointExport),
      jobs: live.map(({ names }) => names.job),
      nodes: live.map(({ names }) => names.fleeceNode),
      bitmaps: [
        ...this.#disks.map(({ disk, frozen }) => ({ node: disk.node, name: frozen })),
        ...also,
      ],
    };
  }
}

type OnStep = Parameters<typeof removeOwnThings>[2];

/** The answers' values; throws the first refusal. */
export function valuesOf(answers: readonly QmpAnswer[]): readonly unknown[] {
  return answers.map((answer) => {
    if (!answer.ok) throw answer.fault;
    return answer.value;
  });
}

/** The fault of a disk whose changes cannot be counted from `since` any more. */
export function bitmapLost(disk: DiskName, since: PointId): Fault {
  const message = `${disk}: no good bitmap records since ${since}`;
  return new Fault("BITMAP_LOST", message, { disk, since });
}

import assert from "node:assert/strict";
import { isFault } from "../../base/fault.ts";
import type { ChangeCounter, DiskChange } from "../../core/change-counter.ts";
import type { PointId } from "../../core/ids.ts";
import { countingBitmapName, isCountingBitmap } from "../../qemu/bitmap-name.ts";
import * as commands from "../../qemu/commands.ts";
import { Connector } from "./connector.ts";
import type { PlacedDisk } from "./disk-place.ts";
import { valuesOf } from "./machine-freeze.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";

/**
 * Counts with dirty bitmaps that live only as long as QEMU does, one for each counter and disk. They bear a name that no point's has,
 * so that a replicator's clean-up leaves them alone, and theirs stay when ours are removed. `id` sets this life apart.
 */
export function qemuChangeCounter(options: QemuSourceOptions, id: PointId): ChangeCounter {
  return new BitmapCounter(options, id);
}

interface Counted {
  readonly machine: QemuMachineSettings;
  readonly connector: Connector;
  readonly sessions: Sessions;
}

class BitmapCounter implements ChangeCounter {
  readonly #options: QemuSourceOptions;
  readonly #id: PointId;
  readonly #machines: readonly Counted[];
  #counters: readonly string[] = [];

  constructor(options: QemuSourceOptions, id: PointId) {
    this.#options = options;
    this.#id = id;
    // One by one: nothing is ever held still, so no guard needs to stand before them.
    this.#machines = options.machines.map((machine) => {
      const own = { ...options, machines: [machine] };
      const connector = new Connector(own);
      return { machine, connector, sessions: new Sessions(own, connector) };
    });
  }

  async start(counters: readonly string[], { signal }: { signal: AbortSignal }) {
    assert(this.#counters.length === 0, "the counters are started once");
    this.#counters = counters;
    const removed: string[] = [];
    for (const counted of this.#machines) {
      const session = await running(counted, signal);
      if (session === null) continue;
      const found = await this.#remove(session, signal);
      removed.push(...found.map((name) => `${counted.machine.name}: bitmap ${name}`));
      const { disks } = await session.inspect(signal);
      await this.#add(session, disks, signal);
    }
    return { removed };
  }

  async read({ signal }: { signal: AbortSignal }): Promise<readonly DiskChange[]> {
    const told = await Promise.all(
      this.#machines.map((counted) => orNothing(() => this.#readMachine(counted, signal))),
    );
    return told.flatMap((changes) => changes ?? []);
  }

  async restart(counter: string, { signal }: { signal: AbortSignal }): Promise<void> {
    await Promise.all(
      this.#machines.map(async (counted) => {
        const session = await running(counted, signal);
        if (session === null) return;
        const { disks } = await session.graph(signal);
        const clears = disks.map(({ node }) => commands.clearBitmap(node, this.#nameOf(counter)));
        // One that is not there has been lost; the next look starts it.
        await orNothing(() => session.run(commands.transaction(clears), signal));
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { signal } = new AbortController();
    for (const { sessions, connector } of this.#machines) {
      for (const session of await sessions.live()) {
        await orNothing(() => this.#remove(session, signal));
      }
      await sessions[Symbol.asyncDispose]();
      await connector[Symbol.asyncDispose]();
    }
  }

  async #readMachine(counted: Counted, signal: AbortSignal): Promise<readonly DiskChange[]> {
    const session = await running(counted, signal);
    if (session === null) return [];
    const changes: DiskChange[] = [];
    const lost: PlacedDisk[] = [];
    for (const disk of await session.count(signal)) {
      const uniqueBytes = new Map<string, number>();
      for (const counter of this.#counters) {
        const bitmap = disk.bitmaps.find(({ name }) => name === this.#nameOf(counter));
        if (bitmap?.isRecording) uniqueBytes.set(counter, bitmap.dirtyBytes);
      }
      if (uniqueBytes.size < this.#counters.length) lost.push(disk);
      else changes.push({ disk: disk.name, sizeBytes: disk.sizeBytes, uniqueBytes });
    }
    if (lost.length > 0) {
      await this.#remove(session, signal);
      await this.#add(session, (await session.inspect(signal)).disks, signal);
      return [];
    }
    return changes;
  }

  /** Removes the group's counting bitmaps, whichever life of ours made them; resolves to their names. */
  async #remove(session: Session, signal: AbortSignal): Promise<readonly string[]> {
    const { nodes } = await session.inspect(signal);
    const found = nodes.flatMap((node) =>
      node.bitmaps
        .filter(({ name }) => isCountingBitmap(this.#options.group, name))
        .map(({ name }) => ({ node: node.name, name })),
    );
    for (const { node, name } of found) {
      await session.run(commands.removeBitmap(node, name), signal);
    }
    return found.map(({ name }) => name);
  }

  async #add(session: Session, disks: readonly PlacedDisk[], signal: AbortSignal): Promise<void> {
    const actions = disks.flatMap(({ node }) =>
      this.#counters.map((counter) =>
        commands.addRecordingBitmap(node, this.#nameOf(counter), false),
      ),
    );
    valuesOf(await session.qmp.executeAll([commands.transaction(actions)], { signal }));
  }

  #nameOf(counter: string): string {
    return countingBitmapName(this.#options.group, this.#id, counter);
  }
}

function running({ sessions, machine }: Counted, signal: AbortSignal): Promise<Session | null> {
  return sessions.running(machine, signal);
}

/** Null when the machine has gone, or what is asked of it is not there any more: both pass. */
async function orNothing<Value>(work: () => Promise<Value>): Promise<Value | null> {
  try {
    return await work();
  } catch (error) {
    if (isFault(error, "QMP_CLOSED", "QMP_MISSING", "QMP_REFUSED", "DISK_MISSING")) return null;
    throw error;
  }
}

import assert from "node:assert/strict";
import { type Fault, isFault } from "../../base/fault.ts";
import type { Extent } from "../../core/extent.ts";
import type { DiskName, PointId } from "../../core/ids.ts";
import type { Consistency, Instant, MachineDescription } from "../../core/point.ts";
import type { Snapshot, SourceDisk } from "../../core/source.ts";
import { parseNodes } from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import { isAbsence } from "../../qemu/own-things.ts";
import type { SourceContext } from "./context.ts";
import { DiskReader } from "./disk-reader.ts";
import { watchLoss } from "./loss.ts";
import type { FreezeDisk, FrozenDisk, MachineFreeze } from "./machine-freeze.ts";
import type { Taken } from "./taken.ts";

interface OpenDisk {
  readonly frozen: FrozenDisk;
  readonly reader: DiskReader;
}

/**
 * A point over all machines of a group:
 *
 *   new ─open─▶ open ─release─▶ released ─forget─▶ forgotten
 *    └─abandon─▶   └──lost: undone at once──▶ │ dispose: given up, unless forgotten
 */
export class PointSnapshot implements Snapshot {
  readonly id: PointId;
  readonly machines: readonly MachineDescription[];
  readonly #context: SourceContext;
  readonly #freezes: readonly MachineFreeze[];
  readonly #lost = new AbortController();
  readonly #watches = new DisposableStack();
  #taken: Taken | null = null;
  #disks: ReadonlyMap<DiskName, OpenDisk> = new Map();
  #undoing: Promise<void> | null = null;
  #releasing: Promise<void> | null = null;
  #isRead = false;
  #isSealed = false;
  #isForgotten = false;

  constructor(
    context: SourceContext,
    parts: {
      readonly id: PointId;
      readonly freezes: readonly MachineFreeze[];
      readonly machines: readonly MachineDescription[];
    },
  ) {
    this.id = parts.id;
    this.machines = parts.machines;
    this.#context = context;
    this.#freezes = parts.freezes;
    for (const freeze of this.#freezes) {
      this.#watches.use(watchLoss(freeze, (fault) => this.#lose(fault)));
    }
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get instant(): Instant {
    return this.#opened().instant;
  }

  get consistency(): Consistency {
    return this.#opened().consistency;
  }

  get disks(): readonly SourceDisk[] {
    return [...this.#disks.values()].map(({ frozen }) => ({
      name: frozen.disk.name,
      sizeBytes: frozen.disk.sizeBytes,
    }));
  }

  /** The instant was taken: from here on the disks can be read. */
  open(taken: Taken): void {
    this.#taken = taken;
    this.#disks = new Map(
      taken.disks.map((frozen) => {
        const freeze = this.#freezes.find(({ disks }) =>
          disks.some(({ disk }) => disk.name === frozen.disk.name),
        );
        assert(freeze, "a disk was frozen that nobody planned");
        const reader = new DiskReader({
          path: freeze.hold.session.nbdPath,
          exportName: frozen.names.pointExport,
          clock: this.#context.options.clock,
          signal: this.#lost.signal,
        });
        return [frozen.disk.name, { frozen, reader }];
      }),
    );
  }

  async *extents(name: DiskName): AsyncGenerator<Extent> {
    const { frozen, reader } = this.#disk(name);
    const { disk, since, dirtyBytes } = frozen;
    const bitmap = dirtyBytes > 0 ? frozen.frozen : null;
    if (bitmap === null && since.sizeBytes >= disk.sizeBytes) return;
    try {
      await this.#beginReading();
      const { sizeBytes } = disk;
      yield* reader.changed({ bitmap, countedBytes: since.sizeBytes, sizeBytes });
    } catch (error) {
      throw this.#lost.signal.aborted ? this.#lost.signal.reason : error;
    }
  }

  async read(name: DiskName, offsetBytes: number, into: Uint8Array): Promise<void> {
    const { reader } = this.#disk(name);
    try {
      await this.#beginReading();
      await reader.read(offsetBytes, into);
    } catch (error) {
      throw this.#lost.signal.aborted ? this.#lost.signal.reason : error;
    }
  }

  release(): Promise<void> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  async forget(): Promise<void> {
    if (this.#isForgotten) return;
    // From here on the point is the vault's head: whatever fails below, its bitmap stays.
    this.#isSealed = true;
    await this.release();
    await this.#context.phase("forget");
    await this.#removeBitmaps(({ since }) => since.name);
    this.#isForgotten = true;
    await this.#context.phase("forgotten");
  }

  /** Undoes what came to be before the point could be opened. */
  async abandon(): Promise<void> {
    this.#watches.dispose();
    await this.#undo();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isForgotten) return;
    const wasReleased = this.#releasing !== null && (await this.#hasReleased());
    this.#watches.dispose();
    await this.#closeReaders();
    // What cannot be undone now is found by its name at the next repair.
    if (!wasReleased) await this.#undo();
    else if (!this.#isSealed) {
      await this.#removeBitmaps(({ recording }) => recording).catch(ignoreFault);
    }
    await this.#giveHoldsBack();
  }

  async #beginReading(): Promise<void> {
    if (this.#isRead) return;
    this.#isRead = true;
    await this.#context.phase("read");
  }

  #opened(): Taken {
    assert(this.#taken, "the point was not taken yet");
    return this.#taken;
  }

  #disk(name: DiskName): OpenDisk {
    this.#lost.signal.throwIfAborted();
    assert(this.#releasing === null, "a point is read after its release");
    const open = this.#disks.get(name);
    assert(open, `${name} is not in the point`);
    return open;
  }

  #lose(fault: Fault): void {
    if (this.#lost.signal.aborted) return;
    this.#lost.abort(fault);
    // At once, not when somebody reads next: the guest must not meet the end of scratch.
    if (this.#taken !== null) void this.#undo();
  }

  async #release(): Promise<void> {
    const context = this.#context;
    await context.phase("release");
    this.#watches.dispose();
    await this.#closeReaders();
    for (const freeze of this.#freezes) {
      try {
        await freeze.release((step) => context.phase(step));
        context.scratch.renew(freeze.disks.map(({ disk }) => disk.name));
      } catch (error) {
        // A QEMU that has gone has released everything; one that only lost us still uses its scratch.
        if (!isFault(error, "QMP_CLOSED")) throw error;
      }
    }
    await this.#giveHoldsBack();
    await context.phase("released");
  }

  async #hasReleased(): Promise<boolean> {
    try {
      await this.#releasing;
      return true;
    } catch (error) {
      ignoreFault(error);
      return false;
    }
  }

  #undo(): Promise<void> {
    this.#undoing ??= this.#undoAll();
    return this.#undoing;
  }

  async #undoAll(): Promise<void> {
    const keepsBitmaps = this.#isSealed;
    const undone = await Promise.allSettled(
      this.#freezes.map((freeze) => freeze.undo({ keepsBitmaps })),
    );
    for (const outcome of undone) if (outcome.status === "rejected") ignoreFault(outcome.reason);
  }

  async #closeReaders(): Promise<void> {
    for (const { reader } of this.#disks.values()) await reader[Symbol.asyncDispose]();
  }

  async #giveHoldsBack(): Promise<void> {
    for (const { hold } of this.#freezes) await hold[Symbol.asyncDispose]();
  }

  /** Removes one recording bitmap of each disk, wherever the disks are by now, and reads back what is left. */
  async #removeBitmaps(nameOf: (disk: FreezeDisk) => string): Promise<void> {
    const { sessions, options } = this.#context;
    const { signal } = new AbortController();
    for (const freeze of this.#freezes) {
      const { name: machineName } = freeze.hold.session.machine;
      const machine = options.machines.find(({ name }) => name === machineName);
      assert(machine, "a machine was frozen that is not in the group");
      await using hold = await sessions.hold(machine, signal);
      const { session } = hold;
      const removals = [];
      for (const disk of freeze.disks) {
        const { node } = await session.disk(disk.disk.name, signal);
        removals.push(commands.removeBitmap(node, nameOf(disk)));
      }
      const answers = await session.qmp.executeAll([...removals, commands.queryNodes()]);
      for (const answer of answers.slice(0, -1)) {
        if (!answer.ok && !isAbsence(answer.fault)) throw answer.fault;
      }
      const last = answers.at(-1);
      if (last?.ok) session.learn(parseNodes(last.value));
      else session.doubt();
    }
  }
}

function ignoreFault(error: unknown): void {
  if (!isFault(error)) throw error;
}

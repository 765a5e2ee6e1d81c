import assert from "node:assert/strict";
import { type Fault, isFault } from "../../base/fault.ts";
import type { Extent } from "../../core/extent.ts";
import type { DiskName, PointId } from "../../core/ids.ts";
import type { Consistency, Instant, MachineDescription } from "../../core/point.ts";
import type { Snapshot, SourceDisk } from "../../core/source.ts";
import type { SourceContext } from "./context.ts";
import { DiskReader } from "./disk-reader.ts";
import { watchLoss } from "./loss.ts";
import type { FrozenDisk, MachineFreeze } from "./machine-freeze.ts";
import { removeBitmaps } from "./remove-bitmaps.ts";
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
          dial: () => freeze.hold.session.serving.dial(),
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

  async forget({ keep }: { readonly keep: PointId | null } = { keep: null }): Promise<void> {
    if (this.#isForgotten) return;
    // From here on the point is the vault's head: whatever fails below, its bitmap stays.
    this.#isSealed = true;
    await this.release();
    await this.#context.phase("forget");
    await removeBitmaps(this.#context, this.#freezes, ({ since }) =>
      since.id === keep ? null : since.name,
    );
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
      const removing = removeBitmaps(this.#context, this.#freezes, ({ recording }) => recording);
      await removing.catch(ignoreFault);
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
    if (this.#lost.signal.aborted && !isFault(this.#lost.signal.reason, "QMP_CLOSED")) {
      // It is being undone, with the bitmap that the next point would count from: it must not be sealed.
      await this.#undo();
      throw this.#lost.signal.reason;
    }
    this.#watches.dispose();
    const context = this.#context;
    await context.phase("release");
    await this.#closeReaders();
    await Promise.all(this.#freezes.map((freeze) => this.#releaseMachine(freeze)));
    await this.#giveHoldsBack();
    await context.phase("released");
  }

  async #releaseMachine(freeze: MachineFreeze): Promise<void> {
    const context = this.#context;
    try {
      await freeze.release((step) => context.phase(step));
      context.scratch.renew(freeze.disks.map(({ disk }) => disk.name));
    } catch (error) {
      // A QEMU that has gone has released everything; one that only lost us still uses its scratch.
      if (!isFault(error, "QMP_CLOSED")) throw error;
    }
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
    const readers = [...this.#disks.values()].map(({ reader }) => reader);
    await Promise.all(readers.map((reader) => reader[Symbol.asyncDispose]()));
  }

  async #giveHoldsBack(): Promise<void> {
    for (const { hold } of this.#freezes) await hold[Symbol.asyncDispose]();
  }
}

function ignoreFault(error: unknown): void {
  if (!isFault(error)) throw error;
}

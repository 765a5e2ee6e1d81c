import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { type ChangeOptions, type ChangeRequest, performChange } from "../control/group-changes.ts";
import type { GroupName } from "../core/ids.ts";
import { oldestRetained, type RetentionPolicy } from "../core/retention.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";

/** A group's journal in the process that writes to it: who may change its history when, and retention. Owns the journal. */
export class JournalKeeper implements AsyncDisposable {
  readonly name: GroupName;
  readonly journal: DirectoryJournal;
  readonly #clock: Clock;
  readonly #retention: RetentionPolicy;
  #heldBack: Fault | null = null;
  #isScrubbing = false;
  /** Ends when all changes asked for so far have ended. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(options: {
    name: GroupName;
    journal: DirectoryJournal;
    clock: Clock;
    retention: RetentionPolicy;
  }) {
    this.name = options.name;
    this.journal = options.journal;
    this.#clock = options.clock;
    this.#retention = options.retention;
  }

  /** Why retention is behind, a view that stays open lets the vault grow; null when it is not. */
  get heldBack(): Fault | null {
    return this.#heldBack;
  }

  /** Thinning, moving the base and records: one after the other, beside the cycles. A scrub goes on beside them all. */
  change(request: ChangeRequest, options: Omit<ChangeOptions, "clock">): Promise<unknown> {
    const work = async () => {
      options.signal.throwIfAborted();
      return performChange(this.journal, request, { ...options, clock: this.#clock });
    };
    if (request.verb === "scrub") return this.#scrub(work);
    const change = this.#changes.then(work);
    this.#changes = change.catch(() => {}); // Whoever asked hears of it.
    return change;
  }

  /** What is due after a seal: retires by retention. A point that somebody reads waits for the next time. */
  async maintain({ signal }: { signal: AbortSignal }): Promise<void> {
    const points = this.journal.points();
    const oldest = oldestRetained(points, this.#retention, this.#clock.nowMs());
    this.#heldBack = null;
    if (oldest === null || oldest === points[0]) return;
    try {
      await this.change({ verb: "move-base", group: this.name, point: oldest.id }, { signal });
    } catch (error) {
      if (!isFault(error, "POINT_PINNED")) throw error;
      this.#heldBack = error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#changes;
    await this.journal[Symbol.asyncDispose]();
  }

  /** Two scrubs would hash the same bytes and overwrite each other's place. */
  async #scrub(work: () => Promise<unknown>): Promise<unknown> {
    if (this.#isScrubbing) throw new Fault("VAULT_BUSY", `${this.name} is being scrubbed already`);
    this.#isScrubbing = true;
    try {
      return await work();
    } finally {
      this.#isScrubbing = false;
    }
  }
}

import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import type { ConfigGroup } from "../cli/config-schema.ts";
import { type ChangeOptions, type ChangeRequest, performChange } from "../control/group-changes.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { GroupName } from "../core/ids.ts";
import type { Generation } from "../core/point.ts";
import { oldestRetained, type RetentionPolicy } from "../core/retention.ts";
import type { EngineEvent } from "../engine/events.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";

type GroupState = WriterState["groups"][number];

/** One group of a running process: its journal, who may change it when, and how it is. */
export class GroupWriter implements AsyncDisposable {
  readonly group: ConfigGroup;
  readonly journal: DirectoryJournal;
  readonly #clock: Clock;
  readonly #retention: RetentionPolicy;
  #state = "starting";
  #trouble: string | null = null;
  /** Why retention is behind: a view that stays open lets the vault grow. */
  #heldBack: string | null = null;
  #isScrubbing = false;
  /** Ends when all changes asked for so far have ended. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(options: {
    group: ConfigGroup;
    journal: DirectoryJournal;
    clock: Clock;
    retention: RetentionPolicy;
  }) {
    this.group = options.group;
    this.journal = options.journal;
    this.#clock = options.clock;
    this.#retention = options.retention;
  }

  get name(): GroupName {
    return this.group.name;
  }

  /** What opening the journal found wrong and put right, one sentence each. */
  get notes(): readonly string[] {
    return this.journal.notes;
  }

  get state(): GroupState {
    return { name: this.name, state: this.#state, trouble: this.#trouble ?? this.#heldBack };
  }

  /** The generation of the newest point; the first of a group is drawn here. */
  generation(prng: Prng): Generation {
    return this.journal.head()?.generation ?? { number: 1, holder: randomHex(prng, 8) };
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
      this.#heldBack = describeFault(error);
    }
  }

  /** Follows the engine, for `afterimage status`. */
  follow(event: EngineEvent): void {
    if (event.type === "state") this.#state = event.state;
    if (event.type === "cycle") this.#trouble = null;
    if (event.type === "retrying" || event.type === "maintenance-failed") {
      this.#trouble = describeFault(event.fault);
    }
  }

  /** The group has stopped for good. */
  fail(fault: Fault): void {
    this.#state = "stopped";
    this.#trouble = describeFault(fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#changes;
    await this.journal[Symbol.asyncDispose]();
  }
}

function describeFault(fault: Fault): string {
  return `${fault.code}: ${fault.message} — ${fault.nextStep}`;
}

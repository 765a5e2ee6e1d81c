import type { Clock } from "../base/clock.ts";
import type { Fault } from "../base/fault.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import type { ConfigGroup } from "../cli/config-schema.ts";
import type { ChangeOptions, ChangeRequest } from "../control/group-changes.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { GroupName } from "../core/ids.ts";
import type { Generation } from "../core/point.ts";
import type { RetentionPolicy } from "../core/retention.ts";
import type { EngineEvent } from "../engine/events.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import { JournalKeeper } from "./journal-keeper.ts";

type GroupState = WriterState["groups"][number];

/** One group of a process that replicates into its own vault: its journal, who may change it when, and how it is. */
export class GroupWriter implements AsyncDisposable {
  readonly group: ConfigGroup;
  readonly #keeper: JournalKeeper;
  #state = "starting";
  #trouble: string | null = null;

  constructor(options: {
    group: ConfigGroup;
    journal: DirectoryJournal;
    clock: Clock;
    retention: RetentionPolicy;
  }) {
    const { group, ...parts } = options;
    this.group = group;
    this.#keeper = new JournalKeeper({ name: group.name, ...parts });
  }

  get name(): GroupName {
    return this.group.name;
  }

  get journal(): DirectoryJournal {
    return this.#keeper.journal;
  }

  /** What opening the journal found wrong and put right, one sentence each. */
  get notes(): readonly string[] {
    return this.journal.notes;
  }

  get state(): GroupState {
    const { heldBack } = this.#keeper;
    const waiting = heldBack === null ? null : describeFault(heldBack);
    return { name: this.name, state: this.#state, trouble: this.#trouble ?? waiting };
  }

  /** The generation in force; the first of a group is drawn here. */
  generation(prng: Prng): Generation {
    return this.journal.generation ?? { number: 1, holder: randomHex(prng, 8) };
  }

  /** Thinning, moving the base and records: one after the other, beside the cycles. A scrub goes on beside them all. */
  change(request: ChangeRequest, options: Omit<ChangeOptions, "clock">): Promise<unknown> {
    return this.#keeper.change(request, options);
  }

  /** What is due after a seal: retires by retention. A point that somebody reads waits for the next time. */
  maintain(options: { signal: AbortSignal }): Promise<void> {
    return this.#keeper.maintain(options);
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
    await this.#keeper[Symbol.asyncDispose]();
  }
}

/** A fault as one sentence for people: what it is and what to do. */
export function describeFault(fault: Fault): string {
  return `${fault.code}: ${fault.message} — ${fault.nextStep}`;
}

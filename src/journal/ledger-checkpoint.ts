import { isFault } from "../base/fault.ts";
import type { LedgerMark } from "../format/ledger.ts";
import type { Group } from "./group.ts";
import { writeLedgerState } from "./ledger-state.ts";

/** How many records lie between two states that are written while the ledger is. */
export interface CheckpointSpans {
  readonly runningRecords: number;
  /** A clean end writes one sooner: the next start is the likelier for it. */
  readonly closingRecords: number;
}

/** Ten thousand records are read in about half a second. */
export const checkpointSpans: CheckpointSpans = { runningRecords: 10_000, closingRecords: 500 };

/** Writes what a ledger adds up to, now and then, behind everything else; see `ledger-state.ts`. */
export class LedgerCheckpoint {
  readonly #group: Group;
  readonly #spans: CheckpointSpans;
  #mark: LedgerMark;
  #records: number;
  #writing: Promise<void> | null = null;

  /** `records`: that the last written state lacks. */
  constructor(group: Group, mark: LedgerMark, records: number, spans: CheckpointSpans) {
    this.#group = group;
    this.#mark = mark;
    this.#records = records;
    this.#spans = spans;
    this.#writeWhenDue(spans.runningRecords);
  }

  /** The group's state has taken in so many more records, up to `mark`. */
  advance(mark: LedgerMark, records: number): void {
    this.#mark = mark;
    this.#records += records;
    this.#writeWhenDue(this.#spans.runningRecords);
  }

  /** Resolves when no state is being written. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  /** At a clean end. */
  async close(): Promise<void> {
    await this.#writing;
    this.#writeWhenDue(this.#spans.closingRecords);
    await this.#writing;
  }

  #writeWhenDue(spanRecords: number): void {
    if (this.#records < spanRecords || this.#writing !== null) return;
    this.#records = 0;
    this.#writing = this.#write().finally(() => {
      this.#writing = null;
    });
  }

  /** State and mark belong together as long as nothing is awaited in between: the state is encoded at once. */
  async #write(): Promise<void> {
    const { files, layout, state } = this.#group;
    try {
      await writeLedgerState(files, layout.ledgerState, { state, mark: this.#mark });
    } catch (error) {
      if (!isFault(error)) throw error; // It is derived: the next start reads the ledger instead.
    }
  }
}

import { isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type LedgerEnd, type LedgerRecord, ledgerStart } from "../format/ledger.ts";
import { GroupState } from "./group-state.ts";
import { type ReadLedger, readLedger } from "./ledger-file.ts";
import { readLedgerState } from "./ledger-state.ts";
import type { GroupLayout } from "./vault-layout.ts";

/**
 * Follows a ledger that another process writes: what was read once is not read again. A writer may cut off a record that it could not
 * make durable and write another one there; then everything is read anew.
 */
export class LedgerFollower {
  readonly #files: FileSystem;
  readonly #layout: Pick<GroupLayout, "ledger" | "ledgerState">;
  readonly #path: string;
  #end: LedgerEnd = ledgerStart;
  #sizeBytes = -1;
  #state = new GroupState();
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor(files: FileSystem, layout: Pick<GroupLayout, "ledger" | "ledgerState">) {
    this.#files = files;
    this.#layout = layout;
    this.#path = layout.ledger;
  }

  /**
   * What the ledger adds up to now; the same object as before when nothing was appended, and one that never changes afterwards. Null
   * when there is no file. LEDGER_CORRUPT, VAULT_VERSION.
   */
  look(): Promise<GroupState | null> {
    const turn = this.#lastTurn.then(() => this.#lookNow());
    this.#lastTurn = turn.catch(() => {}); // Its caller's; the next look starts afresh.
    return turn;
  }

  async #lookNow(): Promise<GroupState | null> {
    const status = await this.#files.stat(this.#path);
    if (status === null) return null;
    if (status.sizeBytes === this.#sizeBytes) return this.#state;
    if (this.#end.head === null) await this.#beginWithWritten();
    if (await this.#goOn()) return this.#state;
    const state = new GroupState();
    const read = await this.#read(state, ledgerStart);
    return read === null ? null : this.#take(state, read);
  }

  /** The writer has written what the ledger adds up to now and then: the rest is read from there. */
  async #beginWithWritten(): Promise<void> {
    const written = await readLedgerState(this.#files, this.#layout);
    if (written === null) return;
    this.#state = written.state;
    this.#end = written.mark;
  }

  /** Whether what stands behind the part that is known follows from it. */
  async #goOn(): Promise<boolean> {
    if (this.#end.head === null) return false;
    const state = this.#state.copy();
    try {
      const read = await this.#read(state, this.#end);
      // Nothing new, and another size than before: something else may stand there now.
      const isSame = read?.lengthBytes === this.#end.lengthBytes && this.#sizeBytes >= 0;
      if (read === null || isSame) return false;
      this.#take(state, read);
      return true;
    } catch (error) {
      if (!isFault(error, "LEDGER_CORRUPT")) throw error;
      return false; // Reading from the start tells whether it is the ledger or only what is remembered of it.
    }
  }

  #read(state: GroupState, from: LedgerEnd): Promise<ReadLedger | null> {
    const each = ({ entry, atMs }: LedgerRecord) => state.apply(entry, atMs);
    return readLedger(this.#files, this.#path, each, from);
  }

  #take(state: GroupState, read: ReadLedger): GroupState {
    this.#state = state;
    this.#end = { head: read.head, lengthBytes: read.lengthBytes };
    this.#sizeBytes = read.lengthBytes + (read.tail?.lengthBytes ?? 0);
    return state;
  }
}

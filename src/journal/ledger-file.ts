import { dirname } from "node:path";
import { readSmallFile } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import {
  decodeLedger,
  encodeRecord,
  type LedgerHead,
  type LedgerRecord,
  ledgerLengthBytesMax,
} from "../format/ledger.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";

/** What a ledger's file holds; a torn end is not part of it. */
export interface ReadLedger {
  readonly records: readonly LedgerRecord[];
  /** Where the next record goes. */
  readonly lengthBytes: number;
  /** What stands behind the last whole record, and why it is none; null when nothing does. */
  readonly tail: { readonly bytes: Uint8Array; readonly reason: "short" | "damaged" } | null;
}

/** Reads a ledger as it is now, beside a writer or not. LEDGER_CORRUPT, VAULT_VERSION; null when there is no file. */
export async function readLedger(files: FileSystem, path: string): Promise<ReadLedger | null> {
  const bytes = await readSmallFile(files, path, ledgerLengthBytesMax);
  if (bytes === null) return null;
  const { records, tail } = decodeLedger(bytes);
  if (tail.state === "clean") return { records, lengthBytes: bytes.length, tail: null };
  const lengthBytes = tail.positionBytes;
  return {
    records,
    lengthBytes,
    tail: { bytes: bytes.subarray(lengthBytes), reason: tail.reason },
  };
}

/** Cuts off a torn end, which goes to a file of its own first. Returns a note for people, or null when there was none. */
export async function setTailAside(files: FileSystem, path: string, ledger: ReadLedger) {
  if (ledger.tail === null) return null;
  const { bytes, reason } = ledger.tail;
  const asidePath = `${path}.torn-${ledger.lengthBytes}`;
  await files.remove(asidePath);
  {
    await using aside = await files.open(asidePath, "create");
    await aside.write(bytes, 0);
    await aside.sync();
  }
  await files.syncDirectory(dirname(path));
  await using file = await files.open(path, "write");
  await file.truncate(ledger.lengthBytes);
  await file.sync();
  const what = reason === "short" ? "ended within a record" : "ended in a damaged record";
  return `The ledger ${what}; ${bytes.length} bytes were set aside in ${asidePath}.`;
}

/**
 * The ledger as its one writer has it open. Records are appended one after the other; each is durable when its call resolves. A
 * record that could not be made durable is cut off again before anything else is written.
 */
export class LedgerFile implements AsyncDisposable {
  readonly #file: StoredFile;
  readonly #clock: Clock;
  readonly #lengthBytesMax: number;
  #head: LedgerHead | null;
  #lengthBytes: number;
  #isUncertain = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  private constructor(
    file: StoredFile,
    options: { clock: Clock; ledger: ReadLedger; lengthBytesMax: number },
  ) {
    const { clock, ledger, lengthBytesMax } = options;
    this.#file = file;
    this.#clock = clock;
    this.#lengthBytesMax = lengthBytesMax;
    this.#head = ledger.records.at(-1) ?? null;
    this.#lengthBytes = ledger.lengthBytes;
  }

  /** Opens a ledger whose torn end, if any, was set aside; it is never made longer than what can be read again. */
  static async open(
    files: FileSystem,
    path: string,
    clock: Clock,
    ledger: ReadLedger,
    lengthBytesMax = ledgerLengthBytesMax,
  ) {
    return new LedgerFile(await files.open(path, "write"), { clock, ledger, lengthBytesMax });
  }

  /** Makes a ledger whose first record says which group it is of. */
  static async create(files: FileSystem, path: string, clock: Clock, first: LedgerEntry) {
    await using file = await files.open(path, "create");
    const { bytes } = encodeRecord(first, { atMs: clock.nowMs(), previous: null });
    await file.write(bytes, 0);
    await file.sync();
    await files.syncDirectory(dirname(path));
  }

  get head(): LedgerHead | null {
    return this.#head;
  }

  /**
   * Appends records as one write; durable when it resolves, none of them there when it rejects. Returns their time. LEDGER_FULL,
   * STORAGE_*.
   */
  append(...entries: readonly LedgerEntry[]): Promise<number> {
    const turn = this.#lastTurn.then(() => this.#appendNow(entries));
    this.#lastTurn = turn.catch(() => {}); // A failure is its caller's; the next call starts afresh.
    return turn;
  }

  /** Cuts off what a failed append may have left. Rejects when the medium still refuses. */
  async settle(): Promise<void> {
    if (!this.#isUncertain) return;
    await this.#file.truncate(this.#lengthBytes);
    await this.#file.sync();
    this.#isUncertain = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lastTurn;
    await this.#file[Symbol.asyncDispose]();
  }

  async #appendNow(entries: readonly LedgerEntry[]): Promise<number> {
    await this.settle();
    const atMs = Math.max(0, Math.floor(this.#clock.nowMs()));
    let head = this.#head;
    const records: Buffer[] = [];
    for (const entry of entries) {
      const record = encodeRecord(entry, { atMs, previous: head });
      records.push(record.bytes);
      head = record.head;
    }
    const bytes = Buffer.concat(records);
    this.#requireRoom(bytes.length);
    this.#isUncertain = true;
    try {
      await this.#file.write(bytes, this.#lengthBytes);
      await this.#file.sync();
    } catch (error) {
      // Whoever asked must be told; what cannot be cut off now is cut off before the next append.
      await this.settle().catch((settling: unknown) => {
        if (!isFault(settling)) throw settling;
      });
      throw error;
    }
    this.#isUncertain = false;
    this.#head = head;
    this.#lengthBytes += bytes.length;
    return atMs;
  }

  /** A ledger that nobody can read again would take every point with it: better no further one. */
  #requireRoom(recordLengthBytes: number): void {
    const lengthBytes = this.#lengthBytes + recordLengthBytes;
    if (lengthBytes <= this.#lengthBytesMax) return;
    const { path } = this.#file;
    const message = `${path}: the ledger would have ${lengthBytes} bytes, it can have ${this.#lengthBytesMax}`;
    throw new Fault("LEDGER_FULL", message, { path, lengthBytes });
  }

  /** Whether a failed append could not be cut off yet. */
  get isUncertain(): boolean {
    return this.#isUncertain;
  }
}

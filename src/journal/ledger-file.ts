import assert from "node:assert/strict";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import { isFault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import {
  encodeRecord,
  LedgerDecoder,
  type LedgerEnd,
  type LedgerHead,
  type LedgerMark,
  type LedgerRecord,
  ledgerStart,
  ledgerWindowBytesMax,
} from "../format/ledger.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";

/** How a ledger's file ends; a torn end is not part of the ledger. */
export interface ReadLedger extends LedgerEnd {
  /** What stands behind the last whole record, and why it is none; null when nothing does. */
  readonly tail: { readonly lengthBytes: number; readonly reason: "short" | "damaged" } | null;
}

/** What became of records that were appended. */
export interface Appended {
  /** When they were written. */
  readonly atMs: number;
  /** Behind the last of them. */
  readonly mark: LedgerMark;
}

/** Read at once; more only for a record that is longer. */
const windowBytes = 4 * MIB;

/**
 * Reads a ledger as it is now, beside a writer or not, and hands each record to `each`; what it holds in memory does not grow with the
 * file. `from`: where an earlier reading ended. LEDGER_CORRUPT, VAULT_VERSION; null when there is no file.
 */
export async function readLedger(
  files: FileSystem,
  path: string,
  each: (record: LedgerRecord) => void,
  from: LedgerEnd = ledgerStart,
): Promise<ReadLedger | null> {
  const file = await openOrNull(files, path);
  if (file === null) return null;
  await using _open = file;
  const decoder = new LedgerDecoder(from);
  let buffer = Buffer.allocUnsafeSlow(windowBytes);
  for (;;) {
    const startBytes = decoder.nextBytes;
    const readBytes = await file.read(buffer, startBytes);
    const isLast = readBytes < buffer.length;
    for (const record of decoder.decode(buffer.subarray(0, readBytes), isLast)) each(record);
    if (isLast) return readTo(decoder, startBytes + readBytes);
    if (decoder.nextBytes > startBytes) continue;
    assert(buffer.length < ledgerWindowBytesMax, "a window takes any record");
    buffer = Buffer.allocUnsafeSlow(buffer.length * 2);
  }
}

function readTo({ end, tail }: LedgerDecoder, sizeBytes: number): ReadLedger {
  if (tail.state === "clean") return { ...end, tail: null };
  const lengthBytes = sizeBytes - end.lengthBytes;
  return { ...end, tail: { lengthBytes, reason: tail.reason } };
}

async function openOrNull(files: FileSystem, path: string): Promise<StoredFile | null> {
  try {
    return await files.open(path, "read");
  } catch (error) {
    if (isFault(error, "STORAGE_MISSING")) return null;
    throw error;
  }
}

/** Cuts off a torn end, which goes to a file of its own first. Returns a note for people, or null when there was none. */
export async function setTailAside(files: FileSystem, path: string, ledger: ReadLedger) {
  if (ledger.tail === null) return null;
  const { lengthBytes, reason } = ledger.tail;
  const asidePath = `${path}.torn-${ledger.lengthBytes}`;
  await using file = await files.open(path, "write");
  await files.remove(asidePath);
  {
    await using aside = await files.open(asidePath, "create");
    const buffer = Buffer.allocUnsafeSlow(Math.min(lengthBytes, windowBytes));
    for (let at = 0; at < lengthBytes; ) {
      const room = buffer.subarray(0, Math.min(buffer.length, lengthBytes - at));
      const readBytes = await file.read(room, ledger.lengthBytes + at);
      if (readBytes === 0) break;
      await aside.write(room.subarray(0, readBytes), at);
      at += readBytes;
    }
    await aside.sync();
  }
  await files.syncDirectory(dirname(path));
  await file.truncate(ledger.lengthBytes);
  await file.sync();
  const what = reason === "short" ? "ended within a record" : "ended in a damaged record";
  return `The ledger ${what}; ${lengthBytes} bytes were set aside in ${asidePath}.`;
}

/**
 * The ledger as its one writer has it open. Records are appended one after the other; each is durable when its call resolves. A
 * record that could not be made durable is cut off again before anything else is written.
 */
export class LedgerFile implements AsyncDisposable {
  readonly #file: StoredFile;
  readonly #clock: Clock;
  #head: LedgerHead | null;
  #lengthBytes: number;
  #isUncertain = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  private constructor(file: StoredFile, clock: Clock, end: LedgerEnd) {
    this.#file = file;
    this.#clock = clock;
    this.#head = end.head;
    this.#lengthBytes = end.lengthBytes;
  }

  /** Opens a ledger whose torn end, if any, was set aside. */
  static async open(files: FileSystem, path: string, clock: Clock, end: LedgerEnd) {
    return new LedgerFile(await files.open(path, "write"), clock, end);
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

  /** Appends records, one at least, as one write; durable when it resolves, none of them there when it rejects. STORAGE_*. */
  append(...entries: readonly LedgerEntry[]): Promise<Appended> {
    return this.#inTurn(() => this.#appendNow(entries));
  }

  /**
   * Cuts off what a failed append may have left, once the appends under way have ended: what they are writing must not be cut.
   * Rejects when the medium still refuses.
   */
  settle(): Promise<void> {
    return this.#inTurn(() => this.#settleNow());
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => {}); // A failure is its caller's; the next call starts afresh.
    return turn;
  }

  async #settleNow(): Promise<void> {
    if (!this.#isUncertain) return;
    await this.#file.truncate(this.#lengthBytes);
    await this.#file.sync();
    this.#isUncertain = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lastTurn;
    await this.#file[Symbol.asyncDispose]();
  }

  async #appendNow(entries: readonly LedgerEntry[]): Promise<Appended> {
    await this.#settleNow();
    const atMs = Math.max(0, Math.floor(this.#clock.nowMs()));
    let head = this.#head;
    const records: Buffer[] = [];
    for (const entry of entries) {
      const record = encodeRecord(entry, { atMs, previous: head });
      records.push(record.bytes);
      head = record.head;
    }
    const bytes = Buffer.concat(records);
    this.#isUncertain = true;
    try {
      await this.#file.write(bytes, this.#lengthBytes);
      await this.#file.sync();
    } catch (error) {
      // Whoever asked must be told; what cannot be cut off now is cut off before the next append.
      await this.#settleNow().catch((settling: unknown) => {
        if (!isFault(settling)) throw settling;
      });
      throw error;
    }
    this.#isUncertain = false;
    assert(head !== null, "a ledger has a first record");
    this.#head = head;
    this.#lengthBytes += bytes.length;
    const headPositionBytes = this.#lengthBytes - (records.at(-1)?.length ?? 0);
    return { atMs, mark: { head, lengthBytes: this.#lengthBytes, headPositionBytes } };
  }

  /** Whether a failed append could not be cut off yet. */
  get isUncertain(): boolean {
    return this.#isUncertain;
  }
}

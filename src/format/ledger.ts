import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import {
  bytesOfHex,
  hexOf,
  isZeroes,
  readUint64,
  sameBytes,
  sha256,
  viewOf,
  writeUint64,
} from "./bytes.ts";
import { encodeCanonicalJson } from "./canonical-json.ts";
import { hashLengthBytes } from "./delta-limits.ts";
import {
  type LedgerEntry,
  ledgerKindNumber,
  ledgerKindOf,
  ledgerVersionOf,
  parseLedgerEntry,
} from "./ledger-entry.ts";

/** The newest version of a record that this program reads; it writes the oldest that does. */
const ledgerVersion = 2;
/** The first bytes of every record. */
const ledgerMagic = Buffer.from("AFTL", "latin1");
/** Before the body: magic, version, kind, body's length, reserved, number, time, hash of the record before. */
const frontLengthBytes = 64;
/** Behind the body: signature and CRC-32. */
const backLengthBytes = 68;
const signatureLengthBytes = 64;
const bodyLengthBytesMax = 16 * MIB;
/** Bytes that are checksummed in search of a record behind a damaged one. */
const tailCheckedBytesMax = 64 * bodyLengthBytesMax;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A window that no record is too long for. */
export const ledgerWindowBytesMax = 32 * MIB;

/** The newest record, which the next one builds on and others remember. */
export interface LedgerHead {
  /** Of the record, from 0. */
  readonly number: number;
  /** SHA-256 of the record without signature and CRC, as hex. */
  readonly hash: string;
}

/** Where reading or writing goes on: behind the record that is the head. */
export interface LedgerEnd {
  /** Null before the first record. */
  readonly head: LedgerHead | null;
  /** Bytes of the file up to there. */
  readonly lengthBytes: number;
}

/** The same, with where the head itself begins: what is behind it can be told from what was put in its place. */
export interface LedgerMark extends LedgerEnd {
  readonly head: LedgerHead;
  readonly headPositionBytes: number;
}

/** Where reading begins. */
export const ledgerStart: LedgerEnd = { head: null, lengthBytes: 0 };

/** A record as read. */
export interface LedgerRecord extends LedgerHead {
  readonly entry: LedgerEntry;
  /** When the writer wrote it, on its wall clock. */
  readonly atMs: number;
  /** Where it stands in the file. */
  readonly positionBytes: number;
  readonly lengthBytes: number;
}

/**
 * How a ledger ends. `torn`: from `positionBytes` on there is an append that never finished; whoever writes next cuts it off.
 * `short`: the file ends within the record. `damaged`: the bytes are there and not right, as after a power cut; rot of the
 * last record looks the same, so a head remembered elsewhere decides.
 */
export type LedgerTail =
  | { readonly state: "clean" }
  | {
      readonly state: "torn";
      readonly positionBytes: number;
      readonly reason: "short" | "damaged";
    };

/** The record that follows `previous` (null: the first), and the head it makes. An entry no reader would take is a bug. */
export function encodeRecord(
  entry: LedgerEntry,
  { atMs, previous }: { atMs: number; previous: LedgerHead | null },
): { readonly bytes: Buffer; readonly head: LedgerHead } {
  const parsed = parseLedgerEntry(entry.kind, entry.body);
  if (typeof parsed === "string") assert.fail(`a ledger record: ${parsed}`);
  const body = encodeCanonicalJson(entry.body);
  assert(body.length <= bodyLengthBytesMax, "a ledger record is too long");
  const number = numberAfter(previous);
  assert((number === 0) === (entry.kind === "group-created"), "a ledger begins with its group");
  const bytes = Buffer.alloc(frontLengthBytes + body.length + backLengthBytes);
  const view = viewOf(bytes);
  bytes.set(ledgerMagic, 0);
  view.setUint16(4, ledgerVersionOf(entry), true);
  view.setUint16(6, ledgerKindNumber(entry.kind), true);
  view.setUint32(8, body.length, true);
  writeUint64(view, 16, number);
  writeUint64(view, 24, atMs);
  if (previous !== null) bytes.set(bytesOfHex(previous.hash, hashLengthBytes), 32);
  bytes.set(body, frontLengthBytes);
  const crcAt = bytes.length - 4;
  view.setUint32(crcAt, crc32(bytes.subarray(0, crcAt)), true);
  return { bytes, head: { number, hash: hexOf(hashOfRecord(bytes)) } };
}

/**
 * Reads a ledger that is handed over window by window, and holds nothing of what it has read but the head. The same verdicts
 * come out however the file is cut into windows.
 */
export class LedgerDecoder {
  #head: LedgerHead | null;
  #lengthBytes: number;
  #nextBytes: number;
  #tornReason: "short" | "damaged" | null = null;
  #checkedBytes = 0;

  /** Goes on behind a record that was read before; from the start when not given. */
  constructor(from: LedgerEnd = ledgerStart) {
    this.#head = from.head;
    this.#lengthBytes = from.lengthBytes;
    this.#nextBytes = from.lengthBytes;
  }

  /** Where in the file the next window must begin. */
  get nextBytes(): number {
    return this.#nextBytes;
  }

  /** Behind the last whole record. */
  get end(): LedgerEnd {
    return { head: this.#head, lengthBytes: this.#lengthBytes };
  }

  /** How the ledger ends; final when the last window was read. */
  get tail(): LedgerTail {
    const reason = this.#tornReason;
    if (reason === null) return { state: "clean" };
    return { state: "torn", positionBytes: this.#lengthBytes, reason };
  }

  /**
   * The whole records that `window` begins with. `isLast`: the file ends with it. When `nextBytes` stays where it was, the window was too
   * small; one of `ledgerWindowBytesMax` never is. A torn end is told apart from damage before the end, which is LEDGER_CORRUPT
   * (details.positionBytes, details.number); a record of a newer version is VAULT_VERSION.
   */
  *decode(window: Uint8Array, isLast: boolean): Generator<LedgerRecord> {
    let at = 0;
    while (this.#tornReason === null && at < window.length) {
      const framed = frameOf(window.subarray(at));
      if (framed === "short" && !isLast) return;
      if (typeof framed === "string") {
        this.#tornReason = framed;
        at += 1;
        this.#nextBytes += 1;
        break;
      }
      const record = decodeRecord(framed, this.#lengthBytes, this.#head);
      this.#head = { number: record.number, hash: record.hash };
      at += record.lengthBytes;
      this.#lengthBytes += record.lengthBytes;
      this.#nextBytes = this.#lengthBytes;
      yield record;
    }
    if (this.#tornReason !== null) this.#search(window.subarray(at), isLast);
  }

  /**
   * A whole record anywhere behind bytes that are none: then they were once written whole too. A tail made to be slow to search
   * counts as one that holds a record.
   */
  #search(bytes: Uint8Array, isLast: boolean): void {
    const searched = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = searched.indexOf(ledgerMagic);
    while (at >= 0) {
      const rest = searched.subarray(at);
      const framed = frameOf(rest);
      if (framed === "short" && !isLast) {
        this.#nextBytes += at;
        return;
      }
      this.#checkedBytes += Math.min(rest.length, bodyLengthBytesMax);
      if (typeof framed !== "string" || this.#checkedBytes > tailCheckedBytesMax) {
        throw corrupt(this.#lengthBytes, numberAfter(this.#head), "is damaged");
      }
      at = searched.indexOf(ledgerMagic, at + 1);
    }
    // The first bytes of a record may stand at the end of a window.
    const heldBytes = isLast ? 0 : Math.min(searched.length, ledgerMagic.length - 1);
    this.#nextBytes += searched.length - heldBytes;
  }
}

/** Reads a ledger that is in memory. */
export function decodeLedger(bytes: Uint8Array): {
  readonly records: readonly LedgerRecord[];
  readonly tail: LedgerTail;
} {
  const decoder = new LedgerDecoder();
  const records = [...decoder.decode(bytes, true)];
  return { records, tail: decoder.tail };
}

/** Number and hash of the record that `bytes` are, whole and nothing else; null when they are none. Says nothing of what it follows. */
export function headOfRecord(bytes: Uint8Array): LedgerHead | null {
  const framed = frameOf(bytes);
  if (typeof framed === "string" || framed.length !== bytes.length) return null;
  return { number: readUint64(viewOf(framed), 16), hash: hexOf(hashOfRecord(framed)) };
}

/** The bytes of the record that `rest` begins with, its checksum right; or how it fails. */
function frameOf(rest: Uint8Array): Uint8Array | "short" | "damaged" {
  const magic = rest.subarray(0, ledgerMagic.length);
  if (!sameBytes(magic, ledgerMagic.subarray(0, magic.length))) return "damaged";
  if (rest.length < frontLengthBytes) return "short";
  const bodyLengthBytes = viewOf(rest).getUint32(8, true);
  if (bodyLengthBytes > bodyLengthBytesMax) return "damaged";
  const lengthBytes = frontLengthBytes + bodyLengthBytes + backLengthBytes;
  if (rest.length < lengthBytes) return "short";
  const crcAt = lengthBytes - 4;
  const record = rest.subarray(0, lengthBytes);
  const isRight = viewOf(record).getUint32(crcAt, true) === crc32(record.subarray(0, crcAt));
  return isRight ? record : "damaged";
}

function decodeRecord(
  bytes: Uint8Array,
  positionBytes: number,
  previous: LedgerHead | null,
): LedgerRecord {
  const number = numberAfter(previous);
  const fail = (problem: string): Fault => corrupt(positionBytes, number, problem);
  const view = viewOf(bytes);
  const version = view.getUint16(4, true);
  const kind = ledgerKindOf(view.getUint16(6, true));
  if (version > 0 && (version > ledgerVersion || kind === null)) {
    const message = `record ${number} of the ledger was written by a newer version`;
    throw new Fault("VAULT_VERSION", message, { positionBytes, number, version });
  }
  if (version === 0 || kind === null) throw fail("has an impossible version");
  const signatureAt = bytes.length - backLengthBytes;
  const signature = bytes.subarray(signatureAt, signatureAt + signatureLengthBytes);
  if (!isZeroes(bytes.subarray(12, 16)) || !isZeroes(signature)) {
    throw fail("has a reserved field that is not zero");
  }
  if (readUint64(view, 16) !== number) throw fail("is out of order");
  const expected =
    previous === null ? Buffer.alloc(hashLengthBytes) : Buffer.from(previous.hash, "hex");
  if (!sameBytes(bytes.subarray(32, 64), expected))
    throw fail("does not follow the record before it");
  if ((number === 0) !== (kind === "group-created"))
    throw fail("is of a kind that cannot stand there");
  const atMs = readUint64(view, 24);
  const body = parseBody(bytes.subarray(frontLengthBytes, signatureAt));
  if (body === null || !Number.isSafeInteger(atMs)) throw fail("cannot be read");
  const entry = parseLedgerEntry(kind, body);
  if (typeof entry === "string") throw fail(`says what cannot be (${entry})`);
  const hash = hexOf(hashOfRecord(bytes));
  return { entry, atMs, number, hash, positionBytes, lengthBytes: bytes.length };
}

/** Canonical is what writers promise; the hash covers the bytes as they are, so a reader need not write them again to compare. */
function parseBody(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    // Decided by the caller: no JSON is no body.
    return null;
  }
}

function numberAfter(previous: LedgerHead | null): number {
  return previous === null ? 0 : previous.number + 1;
}

function hashOfRecord(bytes: Uint8Array): Buffer {
  return sha256(bytes.subarray(0, bytes.length - backLengthBytes));
}

function corrupt(positionBytes: number, number: number, problem: string): Fault {
  const message = `ledger: record ${number} at byte ${positionBytes} ${problem}`;
  return new Fault("LEDGER_CORRUPT", message, { positionBytes, number });
}

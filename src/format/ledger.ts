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
  parseLedgerEntry,
} from "./ledger-entry.ts";

/** The version that this program writes, and the newest it reads. */
const ledgerVersion = 1;
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
/** A ledger is read whole. */
export const ledgerLengthBytesMax = 1024 * MIB;

/** The newest record, which the next one builds on and others remember. */
export interface LedgerHead {
  /** Of the record, from 0. */
  readonly number: number;
  /** SHA-256 of the record without signature and CRC, as hex. */
  readonly hash: string;
}

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
  const number = previous === null ? 0 : previous.number + 1;
  assert((number === 0) === (entry.kind === "group-created"), "a ledger begins with its group");
  const bytes = Buffer.alloc(frontLengthBytes + body.length + backLengthBytes);
  const view = viewOf(bytes);
  bytes.set(ledgerMagic, 0);
  view.setUint16(4, ledgerVersion, true);
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
 * Reads a whole ledger. A torn end is told apart from damage before the end, which is LEDGER_CORRUPT (details.positionBytes,
 * details.number); a record of a newer version is VAULT_VERSION.
 */
export function decodeLedger(bytes: Uint8Array): {
  readonly records: readonly LedgerRecord[];
  readonly tail: LedgerTail;
} {
  const records: LedgerRecord[] = [];
  let positionBytes = 0;
  while (positionBytes < bytes.length) {
    const rest = bytes.subarray(positionBytes);
    const framed = frameOf(rest);
    if (typeof framed === "string") {
      if (holdsRecord(rest.subarray(1))) throw corrupt(positionBytes, records.length, "is damaged");
      return { records, tail: { state: "torn", positionBytes, reason: framed } };
    }
    const record = decodeRecord(framed, positionBytes, records.at(-1) ?? null);
    records.push(record);
    positionBytes += record.lengthBytes;
  }
  return { records, tail: { state: "clean" } };
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

/**
 * Whether a whole record begins anywhere in `bytes`: then what stands before it was once written whole too. A tail made to be
 * slow to search counts as one that does.
 */
function holdsRecord(bytes: Uint8Array): boolean {
  const searched = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let checkedBytes = 0;
  let at = searched.indexOf(ledgerMagic);
  while (at >= 0) {
    const rest = searched.subarray(at);
    if (typeof frameOf(rest) !== "string") return true;
    checkedBytes += Math.min(rest.length, bodyLengthBytesMax);
    if (checkedBytes > tailCheckedBytesMax) return true;
    at = searched.indexOf(ledgerMagic, at + 1);
  }
  return false;
}

function decodeRecord(
  bytes: Uint8Array,
  positionBytes: number,
  previous: LedgerRecord | null,
): LedgerRecord {
  const number = previous === null ? 0 : previous.number + 1;
  const fail = (problem: string): Fault => corrupt(positionBytes, number, problem);
  const view = viewOf(bytes);
  const version = view.getUint16(4, true);
  const kind = ledgerKindOf(view.getUint16(6, true));
  if (version > ledgerVersion || (version === ledgerVersion && kind === null)) {
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

function hashOfRecord(bytes: Uint8Array): Buffer {
  return sha256(bytes.subarray(0, bytes.length - backLengthBytes));
}

function corrupt(positionBytes: number, number: number, problem: string): Fault {
  const message = `ledger: record ${number} at byte ${positionBytes} ${problem}`;
  return new Fault("LEDGER_CORRUPT", message, { positionBytes, number });
}

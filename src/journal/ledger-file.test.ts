import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { MIB } from "../base/units.ts";
import type { LedgerRecord } from "../format/ledger.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { LedgerFile, readLedger, setTailAside } from "./ledger-file.ts";

const path = "/ledger";
const clock = systemClock();
const point = { id: "0000000000000001", sequence: 1, contentRoot: "ab".repeat(32) };
const verified: LedgerEntry = { kind: "point-verified", body: { point } };
const drilled = (lengthBytes: number): LedgerEntry => ({
  kind: "point-drilled",
  body: { point, hasPassed: true, finding: "x".repeat(lengthBytes) },
});

/** A ledger with a record for each entry behind the first. */
async function ledgerOf(...entries: readonly LedgerEntry[]): Promise<FileSystem> {
  const files = memoryFileSystem();
  const body = { group: "erp", vault: "00000000000000aa" };
  await LedgerFile.create(files, path, clock, { kind: "group-created", body });
  const end = (await readLedger(files, path, () => {}))!;
  await using ledger = await LedgerFile.open(files, path, clock, end);
  await ledger.append(...entries);
  return files;
}

async function change(files: FileSystem, at: number, bytes: Uint8Array): Promise<void> {
  await using file = await files.open(path, "write");
  await file.write(bytes, at);
}

/** The same files, with the most that was asked for at once. */
function measured(files: FileSystem) {
  const most = { readBytes: 0 };
  const open: FileSystem["open"] = async (name, mode) => {
    const file = await files.open(name, mode);
    const read = (into: Uint8Array, positionBytes: number) => {
      most.readBytes = Math.max(most.readBytes, into.length);
      return file.read(into, positionBytes);
    };
    return {
      path: file.path,
      read,
      write: (from, positionBytes) => file.write(from, positionBytes),
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      punch: (positionBytes, lengthBytes) => file.punch(positionBytes, lengthBytes),
      sync: () => file.sync(),
      sizeBytes: () => file.sizeBytes(),
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    };
  };
  return { files: { ...files, open }, most };
}

// Their length divides no window: a record lies across every edge.
const long = Array.from({ length: 8_000 }, () => drilled(1_000));

test("a ledger longer than a window is read in windows, every record once", async () => {
  const { files, most } = measured(await ledgerOf(...long, verified));
  const records: LedgerRecord[] = [];
  const read = (await readLedger(files, path, (record) => records.push(record)))!;
  expect(records.map((record) => record.number)).toEqual(records.map((_, place) => place));
  expect(records.length).toBe(long.length + 2);
  expect(records.at(-1)?.entry).toEqual(verified);
  expect(read).toMatchObject({ tail: null, head: { number: long.length + 1 } });
  expect(read.lengthBytes).toBeGreaterThan(2 * 4 * MIB);
  expect(most.readBytes).toBeLessThanOrEqual(4 * MIB);
});

test("damage in the first window is corruption when a whole record follows windows later", async () => {
  const files = await ledgerOf(verified, verified);
  const { lengthBytes } = (await readLedger(files, path, () => {}))!;
  const last = new Uint8Array(500);
  {
    await using file = await files.open(path, "read");
    await file.read(last, lengthBytes - last.length);
  }
  await change(files, lengthBytes + 9 * MIB + 7, last);
  await expect(readLedger(files, path, () => {})).rejects.toMatchObject({ code: "LEDGER_CORRUPT" });
});

test("a torn end of several windows is set aside whole and cut off", async () => {
  const files = await ledgerOf(verified, verified);
  const before = (await readLedger(files, path, () => {}))!;
  const tail = new Uint8Array(9 * MIB).fill(7);
  await change(files, before.lengthBytes, tail);
  const torn = (await readLedger(files, path, () => {}))!;
  expect(torn).toEqual({ ...before, tail: { lengthBytes: tail.length, reason: "damaged" } });
  await setTailAside(files, path, torn);
  expect(await readLedger(files, path, () => {})).toEqual(before);
  await using aside = await files.open(`${path}.torn-${before.lengthBytes}`, "read");
  const kept = new Uint8Array(tail.length + 1);
  expect(await aside.read(kept, 0)).toBe(tail.length);
  expect(kept.subarray(0, tail.length)).toEqual(tail);
});

test("settling beside an append that is under way cuts nothing off it", async () => {
  const inner = await ledgerOf(verified);
  const syncing = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const open: FileSystem["open"] = async (name, mode) => {
    const file = await inner.open(name, mode);
    const sync = async () => {
      syncing.resolve();
      await gate.promise;
      await file.sync();
    };
    return { ...file, sync };
  };
  const files = { ...inner, open };
  const end = (await readLedger(files, path, () => {}))!;
  {
    await using ledger = await LedgerFile.open(files, path, clock, end);
    const appending = ledger.append(verified);
    await syncing.promise;
    const settling = ledger.settle();
    gate.resolve();
    await Promise.all([appending, settling, ledger.append(verified)]);
  }
  const records: LedgerRecord[] = [];
  const read = await readLedger(inner, path, (record) => void records.push(record));
  expect(read?.tail).toBeNull();
  expect(records).toHaveLength(4);
});

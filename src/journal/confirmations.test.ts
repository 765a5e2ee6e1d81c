import { beforeEach, expect, test } from "vitest";
import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import { confirmationsApartMs } from "./confirmations.ts";
import { TestHistory } from "./history-for-test.ts";
import { readLedger } from "./ledger-file.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

let nowMs = 1_000_000;
const clock: Clock = { ...systemClock(), nowMs: () => nowMs, monotonicMs: () => nowMs };
let vault: TestVault;
let history: TestHistory;

beforeEach(async () => {
  vault = await memoryVault({ clock });
  history = new TestHistory(5);
  history.addDisk("db/data", MIB);
});

async function confirmationsInLedger(): Promise<number[]> {
  const found: number[] = [];
  await readLedger(vault.files, vault.layout.ledger, ({ entry }) => {
    if (entry.kind === "point-current") found.push(entry.body.atMs);
  });
  return found;
}

test("confirmations cost the ledger a record a minute at most, and readers see the newest at a clean end", async () => {
  const journal = await vault.reopen();
  const { id: point, instant } = await history.seal(journal);
  const at = (seconds: number) => instant.lowerMs + seconds * 1000;
  for (let second = 1; second <= 130; second += 1) {
    nowMs += 1000;
    await journal.confirmCurrent({ point, atMs: at(second) });
    expect(journal.head()?.currentAtMs).toBe(at(second));
  }
  expect(await confirmationsInLedger()).toEqual([at(1), at(61), at(121)]);
  expect(confirmationsApartMs).toBe(60_000);
  await vault.close();
  expect(await confirmationsInLedger()).toEqual([at(1), at(61), at(121), at(130)]);
  await using reading = await vault.reader();
  const reader = await reading.reader(journal.head()!.group);
  expect(reader.head()?.currentAtMs).toBe(at(130));
});

test("a confirmation of another point leaves the head's as it is", async () => {
  const journal = await vault.reopen();
  const { id: point, instant } = await history.seal(journal);
  const stranger = "00000000000000ee" as typeof point;
  await journal.confirmCurrent({ point, atMs: instant.lowerMs + 1 });
  await journal.confirmCurrent({ point, atMs: instant.lowerMs + 2 });
  await journal.confirmCurrent({ point: stranger, atMs: instant.lowerMs + 3 });
  expect(journal.head()?.currentAtMs).toBe(instant.lowerMs + 2);
});

test("what was confirmed last goes into the ledger before the next point does", async () => {
  const journal = await vault.reopen();
  const { id: point, instant } = await history.seal(journal);
  await journal.confirmCurrent({ point, atMs: instant.lowerMs + 1 });
  await journal.confirmCurrent({ point, atMs: instant.lowerMs + 9 });
  history.scribble(1);
  await history.seal(journal);
  vault.kill();
  const again = await vault.reopen();
  expect(again.points().map((one) => one.currentAtMs)).toEqual([instant.lowerMs + 9, null]);
});

test("a confirmation that cannot be recorded keeps nothing from closing, and is kept in memory", async () => {
  let isFull = false;
  vault = await memoryVault({ clock, wrap: (files) => fillable(files, () => isFull) });
  const journal = await vault.reopen();
  const { id: point, instant } = await history.seal(journal);
  isFull = true;
  const confirming = journal.confirmCurrent({ point, atMs: instant.lowerMs + 1 });
  await expect(confirming).rejects.toMatchObject({ code: "STORAGE_FULL" });
  expect(journal.head()?.currentAtMs).toBe(instant.lowerMs + 1);
  await vault.close();
  expect(await confirmationsInLedger()).toEqual([]);
});

function fillable(files: FileSystem, isFull: () => boolean): FileSystem {
  const open: FileSystem["open"] = async (path, mode) => {
    const file = await files.open(path, mode);
    const write: StoredFile["write"] = async (from, positionBytes) => {
      if (isFull()) throw new Fault("STORAGE_FULL", "no room");
      await file.write(from, positionBytes);
    };
    return { ...file, write };
  };
  return { ...files, open };
}

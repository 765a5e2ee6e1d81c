import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { LedgerFile, readLedger } from "./ledger-file.ts";

const path = "/ledger";
const point = { id: "0000000000000001", sequence: 1, contentRoot: "ab".repeat(32) };
const verified: LedgerEntry = { kind: "point-verified", body: { point } };

test("a ledger is not made longer than can be read again: nobody could open its vault any more", async () => {
  const files = memoryFileSystem();
  const clock = systemClock();
  const created = { kind: "group-created", body: { group: "erp", vault: "00000000000000aa" } };
  await LedgerFile.create(files, path, clock, created as LedgerEntry);
  const before = (await readLedger(files, path))!;
  const lengthBytesMax = before.lengthBytes + 1000;
  await using ledger = await LedgerFile.open(files, path, clock, before, lengthBytesMax);
  await ledger.append(verified);
  const many = Array.from({ length: 10 }, () => verified);
  await expect(ledger.append(...many)).rejects.toMatchObject({ code: "LEDGER_FULL" });
  expect(ledger.isUncertain).toBe(false);
  await ledger.append(verified);
  expect(await readLedger(files, path)).toMatchObject({ tail: null, records: { length: 3 } });
});

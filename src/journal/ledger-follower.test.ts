import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { LedgerFile, readLedger } from "./ledger-file.ts";
import { LedgerFollower } from "./ledger-follower.ts";

const path = "/ledger";
const layout = { ledger: path, ledgerState: "/ledger.state" };
const clock = systemClock();
const moved = (sequence: number): LedgerEntry => ({
  kind: "base-moved",
  body: { sequence, contentRoots: [] },
});

/** A ledger of which every read is written down: where it begins. */
async function watchedLedger() {
  const files = memoryFileSystem();
  const body = { group: "erp", vault: "00000000000000aa" };
  await LedgerFile.create(files, path, clock, { kind: "group-created", body });
  const reads: number[] = [];
  const open: FileSystem["open"] = async (name, mode) => {
    const file = await files.open(name, mode);
    const read = file.read.bind(file);
    file.read = (into, positionBytes) => {
      reads.push(positionBytes);
      return read(into, positionBytes);
    };
    return file;
  };
  const append = async (...entries: readonly LedgerEntry[]) => {
    const end = (await readLedger(files, path, () => {}))!;
    await using ledger = await LedgerFile.open(files, path, clock, end);
    await ledger.append(...entries);
    return end.lengthBytes;
  };
  const cut = async (sizeBytes: number) => {
    await using file = await files.open(path, "write");
    await file.truncate(sizeBytes);
  };
  return { files, follower: new LedgerFollower({ ...files, open }, layout), reads, append, cut };
}

test("looking again reads only what was appended, and nothing when nothing was", async () => {
  const { follower, reads, append } = await watchedLedger();
  await append(moved(1));
  const first = (await follower.look())!;
  expect([first.group, first.position, reads]).toEqual(["erp", 1, [0]]);
  expect(await follower.look()).toBe(first);
  expect(reads).toEqual([0]);
  const behind = await append(moved(2));
  const second = (await follower.look())!;
  expect([second.group, second.position, first.position]).toEqual(["erp", 2, 1]);
  expect(reads).toEqual([0, behind]);
});

test("looks at the same time apply each record once", async () => {
  const { follower, reads, append } = await watchedLedger();
  await follower.look();
  const behind = await append(moved(2));
  const [one, other] = await Promise.all([follower.look(), follower.look()]);
  expect(one).toBe(other);
  expect(reads).toEqual([0, behind]);
});

test.each<[string, readonly LedgerEntry[]]>([
  ["shorter", [moved(3)]],
  ["longer by records that do not chain", [moved(37), moved(4), moved(3)]],
  ["longer by half a record", [moved(30_000), moved(3)]],
  [
    "longer within one record",
    [{ ...moved(3), body: { sequence: 3, contentRoots: ["ab".repeat(32)] } } as LedgerEntry],
  ],
])("a record that was cut off again is forgotten: the ledger is %s", async (what, instead) => {
  const { follower, append, cut } = await watchedLedger();
  await append(moved(1));
  const behind = await append(moved(20));
  if (what === "shorter") await append(moved(21));
  expect((await follower.look())?.position).toBeGreaterThan(1);
  await cut(behind);
  await append(...instead);
  const state = (await follower.look())!;
  expect([state.group, state.position]).toEqual(["erp", 3]);
});

test("damage behind what is known is still damage", async () => {
  const { files, follower, append } = await watchedLedger();
  await follower.look();
  const at = await append(moved(1), moved(2), moved(3));
  {
    await using file = await files.open(path, "write");
    await file.write(Buffer.from("?"), at + 40);
  }
  await expect(follower.look()).rejects.toMatchObject({ code: "LEDGER_CORRUPT" });
});

import { expect, test } from "vitest";
import type { FileSystem } from "../base/file-system.ts";
import { drawPointId } from "../core/ids.ts";
import { TestHistory } from "./history-for-test.ts";
import { memoryVault } from "./vault-for-test.ts";

const mib = 1024 * 1024;
const signal = new AbortController().signal;

async function threePoints() {
  const vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  history.addDisk("db/data", 2 * mib);
  for (let count = 0; count < 3; count += 1) {
    history.scribble(4);
    await history.seal(journal);
  }
  await journal.indexCache.settled();
  return { vault, journal, history };
}

async function write(files: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const isThere = (await files.stat(path)) !== null;
  await using file = await files.open(path, isThere ? "write" : "create");
  await file.write(bytes, isThere ? await file.sizeBytes() : 0);
}

test("a ledger that ends within a record is cut back, and says so", async () => {
  const { vault, journal, history } = await threePoints();
  const points = journal.points();
  vault.kill();
  await write(
    vault.files,
    vault.layout.ledger,
    Buffer.from("AFTL\x01\x00 half a record", "latin1"),
  );
  const reader = await (await vault.reader()).reader(journal.group.state.group!);
  expect(reader.points()).toEqual(points); // A reader beside a writer sees such an end any time.
  const next = await vault.reopen();
  expect(next.notes.join()).toMatch(/set aside/);
  const names = await vault.files.list(vault.layout.directory);
  expect(names.some((name) => name.startsWith("ledger.torn-"))).toBe(true);
  history.scribble(2);
  await history.seal(next);
  await history.check(await vault.reopen());
});

test("a ledger whose only record is damaged is refused and left as it is", async () => {
  const vault = await memoryVault();
  await vault.reopen();
  vault.kill();
  {
    await using file = await vault.files.open(vault.layout.ledger, "write");
    await file.write(new Uint8Array(8).fill(7), 40);
  }
  await vault.files.remove(`${vault.layout.ledger}.state`);
  for (const start of [1, 2]) {
    const message = `start ${start}`;
    await expect(vault.reopen(), message).rejects.toMatchObject({ code: "LEDGER_CORRUPT" });
    vault.kill();
  }
});

test("damage before the ledger's end is refused, and nothing is written", async () => {
  const { vault } = await threePoints();
  vault.kill();
  await using file = await vault.files.open(vault.layout.ledger, "write");
  await file.write(new Uint8Array([255]), 300);
  const before = await vault.files.list(vault.layout.directory);
  await expect(vault.reopen()).rejects.toMatchObject({ code: "LEDGER_CORRUPT" });
  expect(await vault.files.list(vault.layout.directory)).toEqual(before);
});

test("a half-written delta and a merged one that was not recorded are removed at start", async () => {
  const { vault, journal, history } = await threePoints();
  const [first, second] = journal.group.state.deltas();
  const { deltas, incoming } = vault.layout;
  vault.kill();
  await write(vault.files, `${incoming}/${first!.file}`, Buffer.alloc(100));
  const merged = second!.file.replace(/-\d{12}-/, "-000000000000-");
  await write(vault.files, `${deltas}/${merged}`, Buffer.alloc(100));
  const next = await vault.reopen();
  expect(await vault.files.list(incoming)).toEqual([]);
  expect(await vault.files.list(deltas)).toHaveLength(3);
  await history.check(next);
});

test("a delta beyond the head that does not go on from it is set aside, not deleted", async () => {
  const { vault, journal, history } = await threePoints();
  const { deltas } = vault.layout;
  const stranger = "000001-000000000007-000000000008-00000000000000ff.delta";
  vault.kill();
  await write(vault.files, `${deltas}/${stranger}`, Buffer.alloc(100));
  const next = await vault.reopen();
  expect(await vault.files.list(deltas)).toContain(`${stranger}.aside`);
  expect(next.notes.join()).toMatch(/set aside/);
  expect(next.head()).toEqual(journal.head());
  await history.check(next);
});

test("a missing, torn or foreign index cache changes nothing but the time it takes", async () => {
  const { vault, journal, history } = await threePoints();
  const { indexCache } = vault.layout;
  const size = (await vault.files.stat(indexCache))?.sizeBytes ?? 0;
  expect(size).toBeGreaterThan(0);
  {
    await using file = await vault.files.open(indexCache, "write");
    await file.write(new Uint8Array(8), Math.floor(size / 2));
  }
  await history.check(journal);
  {
    await using file = await vault.files.open(indexCache, "write");
    await file.truncate(size - 10);
  }
  await history.check(journal);
  await vault.files.remove(indexCache);
  await history.check(journal);
  const next = await vault.reopen();
  await next.indexCache.settled();
  expect((await vault.files.stat(indexCache))?.sizeBytes).toBe(size);
  await next.thin({ keep: [], signal });
  await next.indexCache.settled();
  await history.check(next);
});

test("a base that points use cannot be staged again, and so not be discarded", async () => {
  const { vault, journal, history } = await threePoints();
  const [{ name: disk, identity }] = history.disks as [(typeof history.disks)[number]];
  const syncId = drawPointId(history.prng);
  const request = { kind: "base", disk, identity, sizeBytes: 2 * mib, syncId } as const;
  await expect(journal.stage(request)).rejects.toMatchObject({ code: "SEAL_REFUSED" });
  expect(await journal.staged()).toEqual([]);
  await history.check(await vault.reopen());
});

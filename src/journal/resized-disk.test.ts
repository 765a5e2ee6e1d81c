import { test } from "vitest";
import { blockSizeBytes } from "../core/limits.ts";
import { TestHistory } from "./history-for-test.ts";
import { thin } from "./thin.ts";
import { memoryVault } from "./vault-for-test.ts";

test("a disk that was cut, thinned to its first delta and grew again shows nothing old", async () => {
  await using vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  const disk = history.addDisk("db/data", 4 * blockSizeBytes);
  history.write(disk, 0, 4 * blockSizeBytes);
  await history.seal(journal);
  history.resize(disk, blockSizeBytes);
  const cut = await history.seal(journal);
  await thin(journal, { keep: [cut.id], signal: new AbortController().signal });
  history.resize(disk, 4 * blockSizeBytes);
  disk.dirty.fill(0); // As after a resync: what is zero and beyond the head is not staged.
  await history.seal(journal);
  await history.check(journal);
});

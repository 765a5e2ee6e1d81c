import { expect, test } from "vitest";
import { blockSizeBytes } from "../core/limits.ts";
import { openSealed } from "./delta-files.ts";
import { TestHistory } from "./history-for-test.ts";
import { checkRandomHistories } from "./random-histories-for-test.ts";
import { memoryVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;

test("whatever happens, every point reads back as it was acknowledged", () =>
  checkRandomHistories(12));

test("moving the base over one delta of partial blocks leaves the sealed file as it was", async () => {
  await using vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(5);
  const disk = history.addDisk("db/data", 4 * blockSizeBytes);
  history.write(disk, 0, 4 * blockSizeBytes);
  await history.seal(journal);
  const point = await history.seal(journal);
  await journal.moveBase({ to: point.id, signal });
  history.write(disk, 512, 512);
  const next = await history.seal(journal);
  const [delta] = journal.group.state.deltas();
  await using reader = await openSealed(vault.files, {
    path: `${vault.layout.deltas}/${delta?.file}`,
    contentRoot: next.contentRoot,
  });
  await using _view = await journal.open(next.id);
  const moved = journal.moveBase({ to: next.id, signal });
  await expect(moved).rejects.toMatchObject({ code: "POINT_PINNED" });
  await reader.readPieces(0, 0, 1, Buffer.alloc(512));
  await using again = await openSealed(vault.files, reader);
  expect(again.contentRoot).toBe(next.contentRoot);
  await history.check(journal);
});

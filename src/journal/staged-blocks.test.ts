import { expect, test } from "vitest";
import { drawPointId } from "../core/ids.ts";
import { blockSizeBytes, hashLengthBytes } from "../core/limits.ts";
import { sha256 } from "../format/bytes.ts";
import { TestHistory } from "./history-for-test.ts";
import { memoryVault } from "./vault-for-test.ts";

/** A sync of four blocks: the first behind a checkpoint, the others written and then torn from their hashes by a crash. */
async function tornSync(kind: "base" | "parts") {
  const vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  const disk = history.addDisk("db/data", 4 * blockSizeBytes);
  history.write(disk, 0, 4 * blockSizeBytes);
  if (kind === "parts") await history.seal(journal);
  const { name, identity } = disk;
  const syncId = drawPointId(history.prng);
  const request = { kind, disk: name, identity, sizeBytes: 4 * blockSizeBytes, syncId } as const;
  const content = Buffer.alloc(4 * blockSizeBytes);
  history.prng.fill(content);
  {
    await using staged = await journal.stage(request);
    await staged.write(0, content.subarray(0, blockSizeBytes));
    await staged.checkpoint(blockSizeBytes);
    await staged.write(blockSizeBytes, content.subarray(blockSizeBytes));
  }
  const directory = kind === "base" ? vault.layout.base : vault.layout.staged;
  // Of block 1 the hash was lost, of block 2 the data, of block 3 half of the data.
  await using hashes = await vault.files.open(`${directory}/${identity}.hashes`, "write");
  await hashes.write(Buffer.alloc(hashLengthBytes), hashLengthBytes);
  await using raw = await vault.files.open(`${directory}/${identity}.raw`, "write");
  await raw.write(Buffer.alloc(blockSizeBytes), 2 * blockSizeBytes);
  await raw.write(Buffer.alloc(blockSizeBytes / 2), 3 * blockSizeBytes);
  content.fill(0, 2 * blockSizeBytes, 3.5 * blockSizeBytes);
  const next = await vault.reopen();
  return { staged: await next.stage(request), content, disk };
}

test.each(["base", "parts"] as const)(
  "after a crash the hashes of a staged %s are those of what is there",
  async (kind) => {
    const { staged, content, disk } = await tornSync(kind);
    expect(staged.status.resumeAtBytes).toBe(blockSizeBytes);
    const hashes = Buffer.alloc(4 * hashLengthBytes);
    await staged.hashes(0, hashes);
    // Where the parts have no data the head shows through.
    if (kind === "parts")
      disk.content.copy(content, 2 * blockSizeBytes, 2 * blockSizeBytes, 3 * blockSizeBytes);
    for (let block = 0; block < 4; block += 1) {
      const bytes = content.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes);
      const found = hashes.subarray(block * hashLengthBytes, (block + 1) * hashLengthBytes);
      expect(found.equals(sha256(bytes)), `block ${block}`).toBe(true);
    }
    await staged[Symbol.asyncDispose]();
  },
);

test("parts that were compared with an older head are not gone on with over a newer one", async () => {
  const vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(2);
  const disk = history.addDisk("db/data", 4 * blockSizeBytes);
  history.write(disk, 0, 4 * blockSizeBytes);
  await history.seal(journal);
  const { name, identity } = disk;
  const sizeBytes = 4 * blockSizeBytes;
  const syncId = drawPointId(history.prng);
  const request = { kind: "parts", disk: name, identity, sizeBytes, syncId } as const;
  {
    // The first half is as in the head, and so nothing of it is staged.
    await using staged = await journal.stage(request);
    await staged.checkpoint(2 * blockSizeBytes);
  }
  expect(await journal.staged()).toHaveLength(1);
  // A point whose seal nobody had heard of comes between.
  history.write(disk, 0, blockSizeBytes);
  await history.seal(journal);
  expect((await journal.ask()).staged).toEqual([]);
  await using staged = await journal.stage(request);
  expect(staged.status.resumeAtBytes).toBe(0);
  expect((await journal.ask()).staged).toHaveLength(1);
});

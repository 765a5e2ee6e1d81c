import { join } from "node:path";
import { expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { openDelta } from "../delta/reader.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { TestHistory } from "./history-for-test.ts";
import { storedChunk } from "./intake-contract.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;
const text = (letter: string) => Buffer.alloc(MIB, `${letter} is what a guest writes. `);

/** How the chunks of every delta above the base are stored. */
async function codecsOf({ files, layout }: TestVault): Promise<readonly (string | null)[]> {
  const codecs: (string | null)[] = [];
  for (const name of await files.list(layout.deltas)) {
    await using reader = await openDelta({ files, path: join(layout.deltas, name) });
    for (let entry = 0; entry < reader.index.entryCount; entry += 1) {
      codecs.push(reader.index.codec(entry));
    }
  }
  return codecs;
}

async function sealStored(history: TestHistory, journal: DirectoryJournal, letter: string) {
  const disk = history.disks[0]!;
  const place = journal.points().length % 2;
  const header = history.header(journal);
  await using writer = await journal.begin(header);
  await writer.writeStored(disk.identity, await storedChunk(place * MIB, text(letter), "zstd"));
  await writer.seal({ dirtyBytes: MIB, readBytes: MIB });
  text(letter).copy(disk.content, place * MIB);
  history.acknowledge(header.id);
}

test("what comes compressed stays so, also when its delta is merged with others", async () => {
  const vault = await memoryVault({ codecOf: () => "raw" });
  const journal = await vault.reopen();
  const history = new TestHistory(12);
  history.addDisk("db/data", 2 * MIB);
  await history.seal(journal);
  for (const letter of ["a", "b", "c", "d"]) await sealStored(history, journal, letter);
  const [first] = journal.points();
  await journal.moveBase({ to: first!.id, signal });
  expect(await codecsOf(vault)).toEqual(["zstd", "zstd", "zstd", "zstd"]);
  await journal.thin({ keep: [first!.id, journal.head()!.id], signal });
  expect(await codecsOf(vault)).toEqual(["zstd", "zstd"]);
  await history.check(await vault.reopen());
});

test("where compressing was not asked for it is stored as it is", async () => {
  const vault = await memoryVault({ codec: "raw" });
  const journal = await vault.reopen();
  const history = new TestHistory(13);
  history.addDisk("db/data", 2 * MIB);
  await history.seal(journal);
  await sealStored(history, journal, "a");
  expect(new Set(await codecsOf(vault))).toEqual(new Set(["raw"]));
  await history.check(journal);
});

import { beforeEach, describe, expect, test } from "vitest";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { GroupState } from "./group-state.ts";
import { TestHistory, testGroup } from "./history-for-test.ts";
import { readLedger } from "./ledger-file.ts";
import { readLedgerState } from "./ledger-state.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

const always = { runningRecords: 1, closingRecords: 1 };
const never = { runningRecords: 1e9, closingRecords: 1e9 };

let vault: TestVault;
let history: TestHistory;
/** Where reads of the ledger began. */
let readAt: number[];

function watched(files: FileSystem): FileSystem {
  const open: FileSystem["open"] = async (path, mode) => {
    const file = await files.open(path, mode);
    if (!path.endsWith("/ledger")) return file;
    const read: typeof file.read = (into, positionBytes) => {
      readAt.push(positionBytes);
      return file.read(into, positionBytes);
    };
    return { ...file, read };
  };
  return { ...files, open };
}

async function makeVault(checkpointSpans: typeof always): Promise<void> {
  readAt = [];
  vault = await memoryVault({ checkpointSpans, wrap: watched });
  history = new TestHistory(10);
  history.addDisk("db/data", MIB);
}

async function lively(journal: DirectoryJournal): Promise<void> {
  for (let count = 0; count < 8; count += 1) {
    history.scribble(3);
    await history.seal(journal);
  }
  const signal = new AbortController().signal;
  const ids = journal.points().map(({ id }) => id);
  await journal.moveBase({ to: ids[2]!, signal });
  await journal.thin({ keep: [ids[2]!, ids[4]!, ids[6]!, ids[7]!], signal });
  await journal.raiseGeneration({ holder: "00000000000000bb", reason: "Handed over." });
  await journal.raiseGeneration({ holder: "00000000000000aa", reason: "And back." });
  await journal.recordVerified(journal.points()[0]!);
}

/** What the whole ledger adds up to. */
async function whole(): Promise<GroupState> {
  const state = new GroupState();
  await readLedger(vault.files, vault.layout.ledger, ({ entry, atMs }) => state.apply(entry, atMs));
  return state;
}

beforeEach(() => makeVault(always));

test("what was written adds up to what the ledger does, and the next start begins there", async () => {
  const journal = await vault.reopen();
  await lively(journal);
  const before = journal.points();
  await vault.close();
  const written = await readLedgerState(vault.files, vault.layout);
  expect(written?.state.parts()).toEqual((await whole()).parts());
  readAt = [];
  const again = await vault.reopen();
  expect(readAt[0]).toBe(written?.mark.headPositionBytes);
  expect(Math.min(...readAt)).toBeGreaterThan(0);
  expect(again.points()).toEqual(before);
  expect(again.generation).toEqual({ number: 3, holder: "00000000000000aa" });
  await history.check(again);
});

test("a start reads on from an older one, as readers do", async () => {
  const journal = await vault.reopen();
  await lively(journal);
  await vault.close();
  const older = await contentOf(vault.layout.ledgerState);
  const next = await vault.reopen();
  history.scribble(2);
  const header = { ...history.header(next), generation: next.generation! };
  await history.seal(next, header);
  await vault.close();
  await replace(vault.layout.ledgerState, older);
  readAt = [];
  const again = await vault.reopen();
  expect(Math.min(...readAt)).toBeGreaterThan(0);
  expect(again.group.state.parts()).toEqual((await whole()).parts());
  await using reading = await vault.reader();
  const reader = await reading.reader(testGroup);
  expect(reader.points()).toEqual(again.points());
  await history.check(again);
});

test("while nobody closes it, it is written behind the records now and then", async () => {
  await makeVault({ runningRecords: 5, closingRecords: 1e9 });
  const journal = await vault.reopen();
  await lively(journal);
  await journal.checkpoint.settled();
  expect(await readLedgerState(vault.files, vault.layout)).not.toBeNull();
  vault.kill();
  const again = await vault.reopen();
  expect(again.group.state.parts()).toEqual((await whole()).parts());
});

describe("at any doubt the ledger is read from its beginning", () => {
  async function expectWholeRead(): Promise<void> {
    readAt = [];
    const again = await vault.reopen();
    expect(readAt).toContain(0);
    expect(again.group.state.parts()).toEqual((await whole()).parts());
    await history.check(again);
  }
  beforeEach(async () => {
    await lively(await vault.reopen());
    await vault.close();
  });
  test("there is none", async () => {
    await vault.files.remove(vault.layout.ledgerState);
    await expectWholeRead();
  });
  test("it is damaged anywhere", async () => {
    const good = await contentOf(vault.layout.ledgerState);
    for (const at of [0, 63, 64, 200, good.length - 1]) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1;
      await replace(vault.layout.ledgerState, bad);
      const read = await readLedgerState(vault.files, vault.layout);
      // The end of the line behind the checksum says nothing.
      if (at !== 64) expect(read, `byte ${at}`).toBeNull();
    }
    await replace(vault.layout.ledgerState, good.subarray(0, good.length / 2));
    await expectWholeRead();
  });
  test("the ledger has another record there", async () => {
    const { mark } = (await readLedgerState(vault.files, vault.layout))!;
    await makeVault(always);
    const journal = await vault.reopen();
    await lively(journal);
    await vault.close();
    const own = await readLedgerState(vault.files, vault.layout);
    expect(own?.mark.head.hash).not.toBe(mark.head.hash);
    const bytes = await contentOf(vault.layout.ledgerState);
    await makeVault(never);
    const other = await vault.reopen();
    for (let count = 0; count < 30; count += 1) {
      history.scribble(1);
      await history.seal(other);
    }
    await vault.close();
    await replace(vault.layout.ledgerState, bytes);
    await expectWholeRead();
  });
  test("the ledger is shorter than it says", async () => {
    const { mark } = (await readLedgerState(vault.files, vault.layout))!;
    {
      await using file = await vault.files.open(vault.layout.ledger, "write");
      await file.truncate(mark.headPositionBytes);
    }
    await expectWholeRead();
  });
});

test("verifying reads the whole chain, wherever the start began", async () => {
  await lively(await vault.reopen());
  await vault.close();
  {
    await using file = await vault.files.open(vault.layout.ledger, "write");
    await file.write(Buffer.from([0xff]), 500);
  }
  const journal = await vault.reopen();
  const verifying = journal.verify({ signal: new AbortController().signal });
  await expect(verifying).rejects.toMatchObject({ code: "LEDGER_CORRUPT" });
});

async function contentOf(path: string): Promise<Buffer> {
  await using file = await vault.files.open(path, "read");
  const bytes = Buffer.alloc(await file.sizeBytes());
  await file.read(bytes, 0);
  return bytes;
}

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  await vault.files.remove(path);
  await using file = await vault.files.open(path, "create");
  await file.write(bytes, 0);
}

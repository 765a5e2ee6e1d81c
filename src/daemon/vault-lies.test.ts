import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import type { Peer } from "../core/channel.ts";
import { type DiskName, drawDiskIdentity, drawPointId } from "../core/ids.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { memoryVault, type TestVault } from "../journal/vault-for-test.ts";
import { GroupIntakes } from "./vault-intake.ts";

// A replicator that is enrolled, and says what is not so.

const holder: Peer = {
  name: "protected",
  role: "replicator",
  id: "00000000000000aa",
  address: "192.0.2.1:40000",
};

const stagedMax = 5;
let vault: TestVault;
let journal: DirectoryJournal;
let intakes: GroupIntakes;
let history: TestHistory;
let confirmed: number;

beforeEach(async () => {
  confirmed = 0;
  vault = await memoryVault();
  journal = await vault.reopen();
  const watcher = {
    onBytes: () => {},
    onCheckpoint: () => {},
    onConfirmed: () => {
      confirmed += 1;
    },
    onSealed: () => {},
  };
  intakes = new GroupIntakes(journal, watcher, { stagedMax });
  history = new TestHistory(6);
  history.addDisk("db/data", MIB);
});
afterEach(() => vault[Symbol.asyncDispose]());

describe("instants that no clock shows", () => {
  test.each([
    ["after the last day that can be written", 8_640_000_000_000_001],
    ["before 1970", -1],
  ])("a point %s is refused", async (_when, atMs) => {
    const ours = intakes.open(holder);
    const header = history.header(ours);
    const instant = { lowerMs: atMs, upperMs: atMs, clockErrorMs: null };
    await expect(ours.begin({ ...header, instant })).rejects.toMatchObject({
      code: "LINK_PROTOCOL",
    });
    expect(journal.head()).toBeNull();
  });
  test("a confirmation of one is refused, and is no sign of life", async () => {
    const ours = intakes.open(holder);
    const { id: point } = await history.seal(ours);
    const confirming = ours.confirmCurrent({ point, atMs: Number.MAX_SAFE_INTEGER });
    await expect(confirming).rejects.toMatchObject({ code: "LINK_PROTOCOL" });
    expect(journal.head()?.currentAtMs).toBeNull();
    expect(confirmed).toBe(0);
  });
});

test("more syncs than a group may have disks are refused, those that are there go on", async () => {
  const ours = intakes.open(holder);
  const request = (number: number) => ({
    kind: "base" as const,
    disk: `db/${number}` as DiskName,
    identity: drawDiskIdentity(history.prng),
    sizeBytes: MIB,
    syncId: drawPointId(history.prng),
  });
  const first = request(0);
  for (let number = 0; number < stagedMax; number += 1) {
    await using _staged = await ours.stage(number === 0 ? first : request(number));
  }
  const further = ours.stage(request(stagedMax));
  await expect(further).rejects.toMatchObject({ code: "LINK_PROTOCOL" });
  await using again = await ours.stage(first);
  expect(again.status.disk).toBe(first.disk);
});

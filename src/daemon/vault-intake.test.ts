import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import type { Peer } from "../core/channel.ts";
import { drawPointId } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import { type TestDisk, TestHistory } from "../journal/history-for-test.ts";
import { intakeContract, storedChunk } from "../journal/intake-contract.ts";
import { memoryVault, type TestVault } from "../journal/vault-for-test.ts";
import { GroupIntakes } from "./vault-intake.ts";

const protectedSite = peer("protected", "00000000000000aa");
const rival = peer("rival", "00000000000000bb");

let vault: TestVault;
let journal: DirectoryJournal;
let intakes: GroupIntakes;
let history: TestHistory;
let disk: TestDisk;
let seen: string[];

function peer(name: string, id: string): Peer {
  return { name, role: "replicator", id, address: "192.0.2.1:40000" };
}

function intakesOf(of: DirectoryJournal): GroupIntakes {
  return new GroupIntakes(of, {
    onBytes: (bytes) => void seen.push(`${bytes} bytes`),
    onCheckpoint: () => void seen.push("checkpoint"),
    onConfirmed: () => void seen.push("confirmed"),
    onFault: ({ code }) => void seen.push(code),
    onSealed: ({ sequence }) => void seen.push(`sealed #${sequence}`),
  });
}

beforeEach(async () => {
  seen = [];
  vault = await memoryVault();
  journal = await vault.reopen();
  intakes = intakesOf(journal);
  history = new TestHistory(6);
  disk = history.addDisk("db/data", 2 * MIB);
});
afterEach(() => vault[Symbol.asyncDispose]());

intakeContract("a vault's, for the holder", async () => {
  const subject = await memoryVault();
  return {
    reopen: async (): Promise<JournalIntake> =>
      intakesOf(await subject.reopen()).open(protectedSite),
    [Symbol.asyncDispose]: () => subject[Symbol.asyncDispose](),
  };
});

describe("two replicators claim one group", () => {
  test("the first one that seals holds it; the other is told who does", async () => {
    const ours = intakes.open(protectedSite);
    const theirs = intakes.open(rival);
    const header = { ...history.header(theirs), generation: { number: 1, holder: rival.id } };
    await history.seal(ours);
    const conflict = {
      code: "GENERATION_CONFLICT",
      details: { group: "erp", number: 1, holder: protectedSite.id },
    };
    await expect(theirs.begin(header)).rejects.toMatchObject(conflict);
    const request = { kind: "base", disk: disk.name, identity: disk.identity } as const;
    const staging = theirs.stage({ ...request, sizeBytes: MIB, syncId: drawPointId(history.prng) });
    await expect(staging).rejects.toMatchObject(conflict);
    const point = journal.head()!.id;
    const confirming = theirs.confirmCurrent({ point, atMs: Number.MAX_SAFE_INTEGER });
    await expect(confirming).rejects.toMatchObject(conflict);
    expect(journal.head()?.currentAtMs).toBeNull();
  });
  test("neither can write in the other's name", async () => {
    const theirs = intakes.open(rival);
    const early = theirs.begin(history.header(theirs));
    await expect(early).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
    const ours = intakes.open(protectedSite);
    await history.seal(ours);
    const late = theirs.begin(history.header(theirs));
    await expect(late).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
  });
  test("one that does not hold the group learns where it stands, and nothing of its machines", async () => {
    await history.seal(intakes.open(protectedSite));
    const standing = await intakes.open(rival).ask();
    expect(standing.generation?.holder).toBe(protectedSite.id);
    expect(standing.head).toMatchObject({ sequence: 1, machines: [], disks: [], notes: [] });
    expect((await intakes.open(protectedSite).ask()).head?.machines).toHaveLength(1);
  });
  test("one that was overtaken is stale, and its delta under way is not sealed", async () => {
    const ours = intakes.open(protectedSite);
    await history.seal(ours);
    await using writer = await ours.begin(history.header(ours));
    await journal.raiseGeneration({ holder: rival.id, reason: "Failover." });
    const stale = { code: "GENERATION_STALE", details: { number: 2, holder: rival.id } };
    const sealing = writer.seal({ dirtyBytes: 0, readBytes: 0 });
    await expect(sealing).rejects.toMatchObject(stale);
    await expect(ours.begin(history.header(ours))).rejects.toMatchObject(stale);
    const theirs = intakes.open(rival);
    const generation = { number: 2, holder: rival.id };
    await history.seal(theirs, { ...history.header(theirs), generation });
    await history.check(journal);
  });
});

describe("a newer connection of the same replicator", () => {
  test("ends the delta that the older one left open", async () => {
    const older = intakes.open(protectedSite);
    await history.seal(older);
    const left = await older.begin(history.header(older));
    const newer = intakes.open(protectedSite);
    history.scribble(3);
    await history.seal(newer);
    const reset = { code: "LINK_RESET" };
    const chunk = await storedChunk(0, Buffer.alloc(blockSizeBytes, 1));
    await expect(left.writeStored(disk.identity, chunk)).rejects.toMatchObject(reset);
    await expect(left.zero(disk.identity, 0, 512)).rejects.toMatchObject(reset);
    const sealing = left.seal({ dirtyBytes: 0, readBytes: 0 });
    await expect(sealing).rejects.toMatchObject(reset);
    await left[Symbol.asyncDispose]();
    await history.check(journal);
  });
  test("ends the parts that the older one was staging, and goes on with them", async () => {
    const older = intakes.open(protectedSite);
    const syncId = drawPointId(history.prng);
    const request = { kind: "base", disk: disk.name, identity: disk.identity, syncId } as const;
    const left = await older.stage({ ...request, sizeBytes: 2 * MIB });
    await left.write(0, disk.content.subarray(0, MIB));
    await left.checkpoint(MIB);
    const newer = intakes.open(protectedSite);
    await using staged = await newer.stage({ ...request, sizeBytes: 2 * MIB });
    expect(staged.status.resumeAtBytes).toBe(MIB);
    const writing = left.write(MIB, disk.content.subarray(MIB));
    await expect(writing).rejects.toMatchObject({ code: "LINK_RESET" });
    expect(seen).toEqual([`${MIB} bytes`, "checkpoint"]);
  });
});

test("whatever a way left open ends with it, and begins no more", async () => {
  const ours = intakes.open(protectedSite);
  await history.seal(ours);
  const left = await ours.begin(history.header(ours));
  const writing = left.write(disk.identity, 0, Buffer.alloc(512));
  await ours[Symbol.asyncDispose]();
  await expect(left.zero(disk.identity, 512, 512)).rejects.toMatchObject({ code: "LINK_RESET" });
  await writing.catch((error: unknown) => expect(error).toMatchObject({ code: "LINK_RESET" }));
  const beginning = ours.begin(history.header(ours));
  await expect(beginning).rejects.toMatchObject({ code: "LINK_RESET" });
  expect(await vault.files.list(vault.layout.incoming)).toEqual([]);
  await history.seal(intakes.open(protectedSite));
});

describe("what cannot be is refused before it reaches a file", () => {
  const sync = { kind: "base", sizeBytes: MIB } as const;
  test("names that would be paths", async () => {
    const ours = intakes.open(protectedSite);
    const header = { ...history.header(ours), id: "../../../vault.json" as never };
    await expect(ours.begin(header)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    const named = { disk: disk.name, identity: disk.identity, syncId: drawPointId(history.prng) };
    for (const bad of [
      { ...named, identity: "../../x" as never },
      { ...named, disk: "../x/y" as never },
      { ...named, syncId: "x" as never },
      { ...named, sizeBytes: 511 },
      { ...named, sizeBytes: Number.NaN },
    ]) {
      const staging = ours.stage({ ...sync, ...bad });
      await expect(staging).rejects.toMatchObject({ code: "LINK_PROTOCOL" });
    }
  });
  test("runs that do not lie on their disk", async () => {
    const ours = intakes.open(protectedSite);
    await history.seal(ours);
    await using writer = await ours.begin(history.header(ours));
    const refused = { code: "LINK_PROTOCOL" };
    const stranger = "00000000000000ee" as never;
    const sector = Buffer.alloc(512);
    await expect(writer.zero(stranger, 0, 512)).rejects.toMatchObject(refused);
    for (const [offset, length] of [
      [0, 2 * MIB + 512],
      [-512, 512],
      [1, 512],
      [0, 0],
      [Number.NaN, 512],
      [0, Number.POSITIVE_INFINITY],
    ] as const) {
      const zeroing = writer.zero(disk.identity, offset, length);
      await expect(zeroing).rejects.toMatchObject(refused);
    }
    const across = writer.write(disk.identity, MIB - 512, Buffer.alloc(1024));
    await expect(across).rejects.toMatchObject(refused);
    await writer.write(disk.identity, 0, sector);
    const costs = [
      { dirtyBytes: -1, readBytes: 0 },
      { dirtyBytes: 0, readBytes: 0.5 },
    ];
    for (const cost of costs) await expect(writer.seal(cost)).rejects.toMatchObject(refused);
    const clock = { offsetMs: 0.5, errorMs: 1 };
    const skewed = writer.seal({ dirtyBytes: 0, readBytes: 0, clock });
    await expect(skewed).rejects.toMatchObject(refused);
    await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  });
  test("staged runs that are not whole blocks of it", async () => {
    const ours = intakes.open(protectedSite);
    const request = { disk: disk.name, identity: disk.identity, syncId: drawPointId(history.prng) };
    await using staged = await ours.stage({ ...sync, ...request, sizeBytes: MIB + 512 });
    const refused = { code: "LINK_PROTOCOL" };
    await expect(staged.write(512, Buffer.alloc(512))).rejects.toMatchObject(refused);
    await expect(staged.zero(0, 512)).rejects.toMatchObject(refused);
    await expect(staged.zero(0, 2 * MIB)).rejects.toMatchObject(refused);
    await expect(staged.checkpoint(2 * MIB)).rejects.toMatchObject(refused);
    await expect(staged.hashes(0, Buffer.alloc(18 * 32))).rejects.toMatchObject(refused);
    await expect(staged.hashes(1, Buffer.alloc(32))).rejects.toMatchObject(refused);
    await staged.hashes(0, Buffer.alloc(17 * 32));
    await staged.zero(MIB, 512);
  });
  test("parts that another staged", async () => {
    const ours = intakes.open(protectedSite);
    const again = intakes.open(protectedSite);
    await history.seal(ours);
    const extra = history.addDisk("db/extra", MIB);
    const staged = await history.stageBase(again, extra);
    await using writer = await ours.begin(history.header(ours));
    await expect(writer.adopt(staged)).rejects.toMatchObject({ code: "LINK_PROTOCOL" });
  });
});

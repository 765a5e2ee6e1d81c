import { beforeEach, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { TestHistory, testGroup } from "./history-for-test.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

const successor = "00000000000000bb";
const raise = { holder: successor, reason: "The first site burnt." };
let vault: TestVault;
let history: TestHistory;

beforeEach(async () => {
  vault = await memoryVault();
  history = new TestHistory(4);
  history.addDisk("db/data", MIB);
});

test("a raised generation lets its holder go on from the head and refuses the one before", async () => {
  let journal = await vault.reopen();
  const first = await history.seal(journal);
  const raised = await journal.raiseGeneration(raise);
  expect(raised).toEqual({ number: 2, holder: successor });
  journal = await vault.reopen();
  expect((await journal.ask()).generation).toEqual(raised);
  const header = history.header(journal);
  await expect(journal.begin(header)).rejects.toMatchObject({
    code: "GENERATION_STALE",
    details: { ...raised, group: testGroup },
  });
  const conflict = { code: "GENERATION_CONFLICT" };
  const late = { ...header, generation: { number: 2, holder: first.generation.holder } };
  await expect(journal.begin(late)).rejects.toMatchObject(conflict);
  history.scribble(2);
  const second = await history.seal(journal, { ...header, generation: raised });
  expect(second).toMatchObject({ sequence: 2, fromPoint: first.id, generation: raised });
  await history.check(await vault.reopen());
});

test("a generation raised while a delta is being written refuses its seal", async () => {
  const journal = await vault.reopen();
  const first = await history.seal(journal);
  await using writer = await journal.begin(history.header(journal));
  await journal.raiseGeneration(raise);
  const sealing = writer.seal({ dirtyBytes: 0, readBytes: 0 });
  await expect(sealing).rejects.toMatchObject({ code: "GENERATION_STALE" });
  expect(journal.head()).toEqual(first);
});

test("the same answer is not given again to one that was overtaken", async () => {
  const journal = await vault.reopen();
  await history.seal(journal);
  const header = history.header(journal);
  const sealed = async () => {
    await using writer = await journal.begin(header);
    return await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  };
  const point = await sealed();
  expect(await sealed()).toEqual(point);
  await using writer = await journal.begin(header);
  await journal.raiseGeneration(raise);
  const sealing = writer.seal({ dirtyBytes: 0, readBytes: 0 });
  await expect(sealing).rejects.toMatchObject({ code: "GENERATION_STALE" });
});

test("a seal that was asked for before the raise comes before it", async () => {
  const journal = await vault.reopen();
  await history.seal(journal);
  await using writer = await journal.begin(history.header(journal));
  const [sealed, raised] = await Promise.allSettled([
    writer.seal({ dirtyBytes: 0, readBytes: 0 }),
    journal.raiseGeneration(raise),
  ]);
  expect(raised).toMatchObject({ status: "fulfilled" });
  expect((await (await vault.reopen()).ask()).generation).toEqual({ number: 2, holder: successor });
  const isFirst = sealed.status === "fulfilled";
  expect(journal.points()).toHaveLength(isFirst ? 2 : 1);
});

test("a group may be given away before its first point", async () => {
  const journal = await vault.reopen();
  expect(await journal.raiseGeneration(raise)).toEqual({ number: 1, holder: successor });
  const header = history.header(journal);
  await expect(journal.begin(header)).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
});

test("who held a group before is told apart from a stranger", async () => {
  const journal = await vault.reopen();
  const { generation } = await history.seal(journal);
  await journal.raiseGeneration(raise);
  const { state } = journal.group;
  expect(state.formerNumberOf(generation.holder)).toBe(1);
  expect(state.formerNumberOf(successor)).toBeNull();
  await journal.raiseGeneration({ ...raise, holder: generation.holder });
  expect(state.formerNumberOf(generation.holder)).toBeNull();
  expect(state.formerNumberOf(successor)).toBe(2);
});

import { expect, test } from "vitest";
import { KeptOpen } from "./kept-open.ts";

interface Thing {
  isAlive: boolean;
}

function kept() {
  let opened = 0;
  const things = new KeptOpen<string, Thing>(({ isAlive }) => isAlive);
  const open = async () => {
    opened += 1;
    await Promise.resolve();
    return { isAlive: true };
  };
  return { things, open, count: () => opened };
}

test("all who ask at once get the same one, opened once", async () => {
  const { things, open, count } = kept();
  const [one, two] = await Promise.all([things.get("a", open), things.get("a", open)]);
  expect(one).toBe(two);
  expect(count()).toBe(1);
  expect(await things.all()).toEqual([one]);
});

test("what has died is opened anew, once for all who ask", async () => {
  const { things, open, count } = kept();
  const first = await things.get("a", open);
  first!.isAlive = false;
  const again = await Promise.all([things.get("a", open), things.get("a", open)]);
  expect(again[0]).toBe(again[1]);
  expect(again[0]).not.toBe(first);
  expect(count()).toBe(2);
});

test("a failure and null are told and not kept", async () => {
  const { things, open } = kept();
  await expect(things.get("a", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await things.get("a", async () => null)).toBeNull();
  expect(await things.all()).toEqual([]);
  expect(await things.get("a", open)).toEqual({ isAlive: true });
});

test("only the one that is kept can be dropped", async () => {
  const { things, open } = kept();
  const first = await things.get("a", open);
  await things.drop("a", { isAlive: true });
  expect(await things.all()).toEqual([first]);
  await things.drop("a", first!);
  expect(await things.all()).toEqual([]);
});

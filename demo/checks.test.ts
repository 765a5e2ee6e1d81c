import { expect, test } from "vitest";
import { checkHistory, checkRecovered, pointsMin, type Recovered } from "./checks.ts";

const acknowledgements = [1, 2, 3, 4, 5].map((row) => ({ row, atMs: 1000 + row }));
const good: Recovered = {
  label: "newest",
  sequence: 12,
  takenAtMs: 1004,
  state: { rows: 4, newestRow: 4, damagedRows: 0, tickData: 8, tickWal: 7 },
};

function failures(change: Partial<Recovered["state"]>, takenAtMs = good.takenAtMs): string[] {
  const recovered = { ...good, takenAtMs, state: { ...good.state, ...change } };
  return checkRecovered(recovered, acknowledgements)
    .filter(({ pass }) => !pass)
    .map(({ name }) => name);
}

test("a point with everything that was acknowledged before it passes", () => {
  expect(failures({})).toEqual([]);
  expect(failures({ rows: 3, newestRow: 3 })).toEqual([]); // Row 4 was acknowledged at the instant, not before.
});

test("an acknowledged row that is missing at the end is found", () => {
  expect(failures({ rows: 2, newestRow: 2 })).toEqual(["newest: no acknowledged row is missing"]);
});

test("an acknowledged row that is missing in the middle is found", () => {
  expect(failures({ rows: 3 })).toEqual(["newest: no acknowledged row is missing"]);
});

test("a check without a single acknowledgement before the point proves nothing and fails", () => {
  expect(failures({}, 1000)).toEqual(["newest: no acknowledged row is missing"]);
});

test("a damaged row is found", () => {
  expect(failures({ damagedRows: 1 })).toEqual(["newest: no row is damaged"]);
});

test.each([
  { why: "a log's disk ahead of the data disk", tickData: 7, tickWal: 8 },
  { why: "a data disk two ahead", tickData: 9, tickWal: 7 },
  { why: "a witness that never ran", tickData: 0, tickWal: 0 },
])("$why is found", ({ tickData, tickWal }) => {
  expect(failures({ tickData, tickWal })).toEqual(["newest: both disks show one instant"]);
});

test("too few points, or an older point that is not older, are found", () => {
  const older = { ...good, label: "older", takenAtMs: 1002, state: { ...good.state, rows: 2 } };
  const verdicts = (options: Parameters<typeof checkHistory>[0]) =>
    checkHistory(options).map(({ pass }) => pass);
  expect(verdicts({ points: pointsMin, newest: good, older })).toEqual([true, true]);
  expect(verdicts({ points: pointsMin - 1, newest: good, older })).toEqual([false, true]);
  expect(verdicts({ points: pointsMin, newest: good, older: good })).toEqual([true, false]);
  const same = { ...older, state: good.state };
  expect(verdicts({ points: pointsMin, newest: good, older: same })).toEqual([true, false]);
});

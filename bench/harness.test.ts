import { expect, test } from "vitest";
import { benchResult, figure, limitFigure, median, spread } from "./figures.ts";
import { formatResult, runPairs } from "./harness.ts";
import { rssBytesMaxOf, runProgram } from "./process.ts";

test("a ratio is larger when ours is better, whichever way the unit points", () => {
  const throughput = { ours: 200, peer: 100, unit: "MiB/s", better: "larger", bar: 0.9 } as const;
  expect(figure(throughput)).toMatchObject({ ratio: 2, ok: true });
  expect(figure({ ...throughput, unit: "s", better: "smaller" })).toMatchObject({
    ratio: 0.5,
    ok: false,
  });
  expect(figure({ ...throughput, bar: null }).ok).toBe(true);
  expect(limitFigure({ ours: 320, limit: 300, unit: "MiB" })).toMatchObject({ bar: 1, ok: false });
});

test("medians and spreads", () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(spread([90, 100, 120])).toBeCloseTo(0.3);
});

test("pairs alternate, who goes first changes, and the first pair is thrown away", async () => {
  const turns: string[] = [];
  let run = 0;
  const take = (who: string) => async () => {
    turns.push(who);
    run += 1;
    return { seconds: run };
  };
  const runs = await runPairs({ name: "a", ours: take("ours"), peer: take("peer") });
  expect(turns.slice(0, 6)).toEqual(["ours", "peer", "peer", "ours", "ours", "peer"]);
  expect(runs.ours.seconds).toEqual([4, 5, 8, 9, 12]);
  expect(runs.peer.seconds).toEqual([3, 6, 7, 10, 11]);
});

test("a series with an unsteady peer is taken again", async () => {
  const values = [1, 1, 1, 1, 1, 9, 2, 2, 2, 2, 2, 2];
  const runs = await runPairs({
    name: "a",
    ours: async () => ({ seconds: 1 }),
    peer: async () => ({ seconds: values.shift()! }),
    steady: { by: "seconds", spreadMax: 0.3 },
  });
  expect(runs.peer.seconds).toEqual([2, 2, 2, 2, 2]);
});

test("the table shows what falls short", () => {
  const figures = { rss: limitFigure({ ours: 320, limit: 300, unit: "MiB" }) };
  const result = benchResult("pull", "nbdcopy", figures);
  expect(result.ok).toBe(false);
  expect(formatResult(result)).toContain("SHORT");
});

test("a program is measured, and its failure says why", async () => {
  const script =
    "const a = Buffer.alloc(64e6, 1); for (const t = Date.now(); Date.now() < t + 200;);";
  const run = await runProgram(process.execPath, ["-e", script]);
  expect(run.rssBytesMax).toBeGreaterThan(64e6);
  await expect(runProgram("sh", ["-c", "echo why >&2; exit 3"])).rejects.toThrow(/code 3: why/);
  expect(await rssBytesMaxOf(2 ** 30)).toBeNull();
});

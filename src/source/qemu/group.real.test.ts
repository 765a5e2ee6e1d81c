import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import type { Source } from "../../core/source.ts";
import {
  diskName,
  extentsOf,
  testSignal as signal,
  type TestHost,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { isRunning, startTestMachine, type TestMachine } from "./test-machine.ts";

const disks = [{ name: "data", sizeBytes: 16 * MIB }];
const machineNames = ["app", "db", "web"];
const names = machineNames.map((name) => diskName(`${name}/data`));
const machines = Object.fromEntries(machineNames.map((name) => [name, disks]));
const since = new Map(names.map((name) => [name, testPoint(1)]));

let host: TestHost;
let running: TestMachine[];
let source: Source;
beforeEach(async () => {
  host = await testHost();
  running = [];
  for (const name of machineNames) {
    await host.createImages(name, disks);
    running.push(await startTestMachine(host, name, disks));
  }
  source = host.source(machines);
});
afterEach(async () => {
  await source[Symbol.asyncDispose]();
  for (const machine of running) await machine[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

test("machines stand still together for the instant and run again, with the skew measured", async () => {
  await source.track(names, testPoint(1), { signal });
  await running[1]?.io("data", "write -P 7 1M 64k");
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(snapshot.consistency).toMatchObject({ reached: "crash", isGroupConsistent: true });
  expect(snapshot.consistency.skewMs).toBeGreaterThanOrEqual(0);
  expect(await Promise.all(running.map(isRunning))).toEqual([true, true, true]);
  expect(await extentsOf(snapshot, "app/data")).toEqual([]);
  expect(await extentsOf(snapshot, "db/data")).toHaveLength(1);
  expect(snapshot.machines.map(({ name }) => name)).toEqual(machineNames);
});

test("a machine that somebody had paused stays paused", async () => {
  await source.track(names, testPoint(1), { signal });
  await running[2]?.qmp.execute("stop");
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(snapshot.consistency.isGroupConsistent).toBe(true);
  expect(await Promise.all(running.map(isRunning))).toEqual([true, true, false]);
});

test("a machine that is off joins the point of those that run", async () => {
  await source.track(names, testPoint(1), { signal });
  await running[0]?.io("data", "write -P 7 1M 64k");
  await running[0]?.quit();
  await source.repair({ keep: [testPoint(1)], signal });
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(snapshot.consistency.isGroupConsistent).toBe(true);
  expect(await extentsOf(snapshot, "app/data")).toHaveLength(1);
  await snapshot.forget();
});

test("a failure between stop and cont resumes every machine and leaves nothing", async () => {
  await source.track(names, testPoint(1), { signal });
  await source[Symbol.asyncDispose]();
  source = host.source(machines, {
    onPhase: async (phase) => {
      if (phase !== "still") return;
      expect(await Promise.all(running.map(isRunning))).toEqual([false, false, false]);
      throw new Error("broken on purpose");
    },
  });
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toThrow("broken on purpose");
  expect(await Promise.all(running.map(isRunning))).toEqual([true, true, true]);
  for (const machine of running) expect(await machine.ours()).toEqual([]);
});

test("one machine's refusal undoes the point on all, and all run again", async () => {
  await source.track(names, testPoint(1), { signal });
  const nameOf = (disk: string) => `afterimage:erp:${testPoint(1)}:${16 * MIB}:${disk}`;
  const removal = { node: "data", name: nameOf("db/data") };
  await running[1]?.qmp.execute("block-dirty-bitmap-remove", removal);
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({
    code: "BITMAP_LOST",
    details: { disk: "db/data" },
  });
  expect(await Promise.all(running.map(isRunning))).toEqual([true, true, true]);
  expect(await running[0]?.bitmaps("data")).toEqual([nameOf("app/data")]);
  for (const machine of running) expect(await machine.ours()).toEqual([]);
});

test("a barrier held beyond its bound resumes the machines and does not call the point consistent", async () => {
  await source.track(names, testPoint(1), { signal });
  await source[Symbol.asyncDispose]();
  let resumed = false;
  source = host.source(machines, {
    barrierMs: 300,
    onPhase: async (phase) => {
      if (phase !== "sent" || resumed) return;
      // The transactions are done; now we hang until the guard has lost its patience.
      while (!(await isRunning(running[0]!))) await new Promise((next) => setImmediate(next));
      resumed = true;
    },
  });
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  expect(snapshot.consistency).toMatchObject({ isGroupConsistent: false, skewMs: null });
  expect(snapshot.consistency.reason).toMatch(/did not all stand still/);
  expect(await Promise.all(running.map(isRunning))).toEqual([true, true, true]);
});

test("a machine that dies while the others stand still fails the point, and they run again", async () => {
  await source.track(names, testPoint(1), { signal });
  await source[Symbol.asyncDispose]();
  source = host.source(machines, {
    onPhase: async (phase) => {
      if (phase === "still") await running[1]?.kill();
    },
  });
  const freezing = source.freeze({ id: testPoint(2), since, signal });
  await expect(freezing).rejects.toMatchObject({ code: "BARRIER_FAILED" });
  expect(await isRunning(running[0]!)).toBe(true);
  expect(await isRunning(running[2]!)).toBe(true);
  expect(await running[0]?.ours()).toEqual([]);
});

import { describe, expect, test } from "vitest";
import {
  dataDisk,
  type EngineWorld,
  engineWorld,
  guestActs,
  neverAborted,
  wrongPoints,
} from "../../test/support/engine-world.ts";
import { Fault } from "../base/fault.ts";
import { machineOf } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import type { EngineEvent } from "./events.ts";
import { nextStart } from "./interval.ts";
import { type RunOptions, runGroup } from "./run.ts";

/** Lets the virtual clock run while `work` is under way. */
async function inVirtualTime<Value>(world: EngineWorld, work: Promise<Value>): Promise<Value> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  work.then(over, over);
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!isOver) world.clock.advance();
  }
  return work;
}

function start(world: EngineWorld, more: Partial<RunOptions>) {
  const events: EngineEvent[] = [];
  const { clock, prng, group } = world;
  const run = runGroup({
    ...world.connect(),
    group,
    clock,
    prng,
    intervalSeconds: 2,
    signal: neverAborted,
    ...more,
    onEvent: (event) => {
      events.push(event);
      more.onEvent?.(event);
    },
  });
  const done = inVirtualTime(world, run);
  return { events, done };
}

const states = (events: readonly EngineEvent[]) =>
  events.flatMap((event) => (event.type === "state" ? [event.state] : []));

describe("a running group", () => {
  test("syncs, then cuts a point each interval, from start to start", async () => {
    const world = await engineWorld(1);
    guestActs(world, 10);
    const startsMs: number[] = [];
    const { events, done } = start(world, {
      cycles: 4,
      onPhase: (phase) => {
        if (phase === "ask-head") startsMs.push(world.clock.monotonicMs());
        if (phase === "seal") world.clock.advanceBy(300);
        guestActs(world);
      },
    });
    expect(await done).toEqual({ points: 4, endedBy: "cycles" });
    expect(states(events)).toEqual(["starting", "syncing", "replicating", "stopping", "stopped"]);
    expect(startsMs.map((at) => at - startsMs[0]!)).toEqual([0, 2_000, 4_000, 6_000]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("leaves starts out that passed while a cycle ran, and says so", async () => {
    const world = await engineWorld(2);
    let isFirst = true;
    const startsMs: number[] = [];
    const { events, done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        if (phase === "ask-head") startsMs.push(world.clock.monotonicMs());
        if (phase === "seal" && isFirst) {
          isFirst = false;
          world.clock.advanceBy(5_000);
        }
      },
    });
    await done;
    expect(events.filter(({ type }) => type === "late")).toMatchObject([{ skipped: 2 }]);
    expect(startsMs.map((at) => at - startsMs[0]!)).toEqual([0, 6_000, 8_000]);
  });

  test("bears faults that may pass, with growing patience, and carries everything", async () => {
    const world = await engineWorld(3);
    let failures = 3;
    const { events, done } = start(world, {
      cycles: 2,
      onPhase: (phase) => {
        guestActs(world);
        if (phase === "seal" && world.points().length === 1 && failures-- > 0) {
          throw new Fault("STORAGE_FULL", "injected");
        }
      },
    });
    await done;
    const retries = events.filter((event) => event.type === "retrying");
    expect(retries.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const delays = retries.map(({ delaySeconds }) => delaySeconds);
    expect(delays).toEqual(delays.toSorted((a, b) => a - b));
    expect(retries.every(({ lagSeconds }) => lagSeconds !== null && lagSeconds > 0)).toBe(true);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("is patient anew after each sealed point", async () => {
    const world = await engineWorld(10);
    const failed = new Set<number>();
    const { events, done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        const points = world.points().length;
        if (phase !== "seal" || failed.has(points)) return;
        failed.add(points);
        throw new Fault("STORAGE_FULL", "injected");
      },
    });
    await done;
    const retries = events.filter((event) => event.type === "retrying");
    expect(retries.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  });

  test("looks at the source again when it could not forget what was sealed", async () => {
    const world = await engineWorld(11);
    const { source, journal } = world.connect();
    let isFirst = true;
    const { events, done } = start(world, {
      cycles: 2,
      journal,
      source: {
        ...source,
        freeze: async (request) => {
          const snapshot = await source.freeze(request);
          const forget = async () => {
            await snapshot.forget();
            if (isFirst) throw new Fault("QMP_CLOSED", "the answer was lost");
          };
          return { ...snapshot, forget: () => forget().finally(() => (isFirst = false)) };
        },
      },
    });
    await done;
    expect(states(events)).toContain("retrying");
    const attached = events.filter((event) => event.type === "attached");
    expect(attached.at(-1)!.disks.map(({ state }) => state)).toEqual(["tracked", "tracked"]);
    expect(world.points()).toHaveLength(2);
  });

  test("ends with a fault that needs a person", async () => {
    const world = await engineWorld(4);
    const { events, done } = start(world, {
      onPhase: (phase) => {
        if (phase === "seal") throw new Fault("STORAGE_DENIED", "injected");
      },
    });
    await expect(done).rejects.toMatchObject({ code: "STORAGE_DENIED" });
    expect(states(events).at(-1)).toBe("stopped");
  });

  test("asks a vault that refuses the point once more, not forever", async () => {
    const world = await engineWorld(12);
    let refusals = 0;
    const { events, done } = start(world, {
      onPhase: (phase) => {
        if (phase !== "seal") return;
        refusals += 1;
        throw new Fault("SEAL_REFUSED", "another holds the generation");
      },
    });
    await expect(done).rejects.toMatchObject({ code: "SEAL_REFUSED" });
    expect(refusals).toBe(2);
    expect(events.filter(({ type }) => type === "retrying")).toHaveLength(1);
  });

  test("ends after the retries it was given, with the fault", async () => {
    const world = await engineWorld(5);
    world.estate.stopMachine(machineOf(dataDisk));
    const { source, journal } = world.connect();
    const { done } = start(world, {
      retriesMax: 2,
      journal,
      source: { ...source, repair: () => Promise.reject(new Fault("QMP_MISSING", "no socket")) },
    });
    await expect(done).rejects.toMatchObject({ code: "QMP_MISSING" });
  });

  test("waits for a machine that was killed, resyncs its disks, and goes on", async () => {
    const world = await engineWorld(6);
    const machine = machineOf(dataDisk);
    guestActs(world, 10);
    let kills = 1;
    const { events, done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        if (phase === "release" && world.points().length === 1 && kills-- > 0) {
          world.estate.killMachine(machine);
        }
        guestActs(world);
      },
      onEvent: (event) => {
        if (event.type === "retrying" && !world.estate.machine(machine).isRunning) {
          world.estate.startMachine(machine);
        }
      },
    });
    await done;
    const attached = events.filter((event) => event.type === "attached");
    expect(attached.at(-1)!.disks.map(({ state }) => state)).toEqual(["resync", "resync"]);
    expect(world.points()[1]!.notes.join()).toContain("resynced");
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a bitmap removed behind our back costs one resync at once", async () => {
    const world = await engineWorld(7);
    let isGone = false;
    const { events, done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        if (phase === "ask-head" && world.points().length === 1 && !isGone) {
          isGone = true;
          world.estate.disk(dataDisk).bitmaps.clear();
          world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(3));
        }
      },
    });
    await done;
    expect(events.filter((event) => event.type === "retrying")).toMatchObject([
      { delaySeconds: 0, fault: { code: "BITMAP_LOST" } },
    ]);
    expect(world.points()[1]!.notes).toHaveLength(1);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a refusal that attaching cures is no end, whatever else had failed just before", async () => {
    const world = await engineWorld(11);
    const faults = ["SCRATCH_FULL", "SCRATCH_FULL", "SEAL_REFUSED"] as const;
    let next = 0;
    const { events, done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        if (phase !== "seal" || world.points().length !== 1) return;
        const code = faults[next++];
        if (code !== undefined) throw new Fault(code, "injected");
      },
    });
    expect((await done).points).toBe(3);
    expect(events.filter(({ type }) => type === "retrying")).toHaveLength(3);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a refusal that attaching has just failed to cure needs a person", async () => {
    const world = await engineWorld(12);
    const { done } = start(world, {
      cycles: 3,
      onPhase: (phase) => {
        if (phase === "seal") throw new Fault("SEAL_REFUSED", "injected");
      },
    });
    await expect(done).rejects.toMatchObject({ code: "SEAL_REFUSED" });
  });

  test("the signal ends it cleanly, in a cycle as in a wait", async () => {
    for (const where of ["sleep", "read", "sync-read"] as const) {
      const world = await engineWorld(8);
      world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(3));
      const abort = new AbortController();
      const { done } = start(world, {
        signal: abort.signal,
        onPhase: (phase) => {
          if (phase === where) abort.abort();
          if (phase === "ask-head") world.estate.write(dataDisk, 0, new Uint8Array(512).fill(4));
        },
        onEvent: (event) => {
          if (event.type === "cycle" && where === "sleep") queueMicrotask(() => abort.abort());
        },
      });
      expect((await done).endedBy).toBe("signal");
      for (const disk of world.estate.disks.values()) expect(disk.fleece).toBeNull();
      expect(await wrongPoints(world)).toEqual([]);
    }
  });

  test("maintenance runs beside the cycles, one at a time, and its fault is only told", async () => {
    const world = await engineWorld(9);
    let underWay = 0;
    let runs = 0;
    const gate = Promise.withResolvers<void>();
    const { events, done } = start(world, {
      cycles: 5,
      maintain: async () => {
        underWay += 1;
        expect(underWay).toBe(1);
        runs += 1;
        if (runs === 1) await gate.promise;
        underWay -= 1;
        if (runs === 2) throw new Fault("POINT_PINNED", "a mount");
      },
      onEvent: (event) => {
        if (event.type === "cycle" && event.report.point.sequence === 4) gate.resolve();
      },
    });
    await done;
    expect(world.points()).toHaveLength(5);
    expect(runs).toBeLessThan(5);
    expect(runs).toBeGreaterThanOrEqual(2);
    expect(events.filter(({ type }) => type === "maintenance-failed")).toHaveLength(1);
  });

  test("a group handed back to its own replicator goes on by itself, and no machine is paused", async () => {
    const world = await engineWorld(10);
    const journal = world.journal as DirectoryJournal;
    const { events, done } = start(world, {
      cycles: 3,
      onStale: "pause",
      onPhase: async (phase) => {
        if (phase !== "seal" || world.points().length !== 1 || journal.generation?.number !== 1)
          return;
        await journal.raiseGeneration({ holder: world.group.holder, reason: "a drill is over" });
      },
    });
    expect((await done).points).toBe(3);
    expect(world.points().at(-1)?.generation.number).toBe(2);
    expect(events.filter(({ type }) => type === "stale")).toEqual([]);
    for (const machine of world.estate.machines.values())
      expect(machine.isPausedForGood).toBe(false);
  });
});

test("the next start lies a whole number of intervals after the first", () => {
  expect(nextStart(100, 50, 120)).toEqual({ atMs: 150, skipped: 0 });
  expect(nextStart(100, 50, 150)).toEqual({ atMs: 150, skipped: 0 });
  expect(nextStart(100, 50, 151)).toEqual({ atMs: 200, skipped: 1 });
  expect(nextStart(100, 50, 390)).toEqual({ atMs: 400, skipped: 5 });
});

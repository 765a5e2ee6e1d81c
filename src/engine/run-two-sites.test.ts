import { describe, expect, test } from "vitest";
import {
  dataDisk,
  type EngineWorld,
  engineWorld,
  guestActs,
  walDisk,
  wrongPoints,
} from "../../test/support/engine-world.ts";
import {
  inVirtualTime,
  type SpoolWorld,
  shipAll,
  spoolWorld,
} from "../../test/support/spool-world.ts";
import { Fault } from "../base/fault.ts";
import { machineOf } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { EngineEvent } from "./events.ts";
import type { IntervalFacts } from "./interval.ts";
import { type RunOptions, runGroup } from "./run.ts";

interface Started {
  readonly events: EngineEvent[];
  readonly stop: AbortController;
  readonly done: ReturnType<typeof runGroup>;
}

function start(world: EngineWorld, more: Partial<RunOptions>): Started {
  const events: EngineEvent[] = [];
  const stop = new AbortController();
  const { clock, prng, group } = world;
  const run = runGroup({
    ...world.connect(),
    ...{ group, clock, prng, intervalSeconds: 2, signal: stop.signal },
    ...more,
    onEvent: (event) => {
      events.push(event);
      more.onEvent?.(event);
    },
  });
  return { events, stop, done: inVirtualTime(world, run) };
}

const statesOf = (events: readonly EngineEvent[]) =>
  events.flatMap((event) => (event.type === "state" ? [event.state] : []));

/** Stops the run when `isEnough` says so of an event. */
function until(started: () => Started, isEnough: (event: EngineEvent) => boolean) {
  return (event: EngineEvent) => {
    if (isEnough(event)) started().stop.abort();
  };
}

describe("a group whose guests write nothing", () => {
  test("cuts no points: the vault is told until when its head is current", async () => {
    const world = await engineWorld(1);
    guestActs(world, 5);
    let told = 0;
    const started: Started = start(world, {
      onEvent: until(
        () => started,
        ({ type }) => type === "current" && ++told === 3,
      ),
    });
    await started.done;
    expect(world.points()).toHaveLength(1);
    const current = started.events.flatMap((event) => (event.type === "current" ? [event] : []));
    expect(current.map(({ point }) => point)).toEqual(Array(3).fill(world.points()[0]!.id));
    expect(world.journal.head()!.currentAtMs).toBe(current.at(-1)!.atMs);
  });

  test("RPO counts from the moment that nothing was known to have changed", async () => {
    const world = await engineWorld(2);
    guestActs(world, 5);
    let told = 0;
    const started: Started = start(world, {
      onEvent: (event) => {
        if (event.type === "current" && ++told === 3) guestActs(world, 3);
        if (event.type === "cycle" && event.report.point.sequence === 2) started.stop.abort();
      },
    });
    await started.done;
    const cycle = started.events.findLast((event) => event.type === "cycle")!;
    expect(cycle.report.rpoSeconds).toBe(2);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a count that cannot be had is answered by a point", async () => {
    const world = await engineWorld(3);
    const { source, journal } = world.connect();
    let points = 0;
    const started: Started = start(world, {
      ...{ journal, source: { ...source, dirtyBytes: async () => null } },
      onEvent: until(
        () => started,
        ({ type }) => type === "cycle" && ++points === 3,
      ),
    });
    await started.done;
    expect(world.points()).toHaveLength(3);
  });

  test("a number of points that was asked for is cut", async () => {
    const world = await engineWorld(4);
    expect(await start(world, { cycles: 3 }).done).toEqual({ points: 3, endedBy: "cycles" });
  });
});

describe("an interval policy", () => {
  test("hears of each step, looks at what is dirty, and its reasons are told", async () => {
    const world = await engineWorld(5);
    const steps: IntervalFacts["step"]["kind"][] = [];
    const { events, done } = start(world, {
      cycles: 2,
      interval: {
        next: ({ step }) => {
          steps.push(step.kind);
          if (step.kind === "polled") expect(step.dirtyBytes).toBe(0);
          const action = step.kind === "polled" ? "cut" : "poll";
          return { waitMs: 500, action, skipped: 0, reason: "It is quiet." };
        },
      },
    });
    await done;
    expect(steps).toEqual(["cycle", "polled"]);
    expect(events.filter(({ type }) => type === "interval")).toMatchObject([
      { waitSeconds: 0.5, reason: "It is quiet." },
      { waitSeconds: 0.5, reason: "It is quiet." },
    ]);
  });

  test("reads of cycles and syncs are held to the pace", async () => {
    const world = await engineWorld(6);
    world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(1));
    const admitted: number[] = [];
    const { done } = start(world, {
      cycles: 2,
      pace: { admit: async (lengthBytes) => void admitted.push(lengthBytes) },
      onPhase: (phase) => {
        if (phase === "freeze" && world.points().length === 1) {
          world.estate.write(dataDisk, 0, new Uint8Array(2 * blockSizeBytes).fill(2));
        }
      },
    });
    await done;
    expect(admitted).toEqual([blockSizeBytes, 2 * blockSizeBytes]);
  });
});

describe("clocks that differ", () => {
  test("beyond the bound protection does not start, and does once they agree", async () => {
    const world = await engineWorld(7);
    let offsetMs = -90_000;
    const { events, done } = start(world, {
      cycles: 1,
      clockOffsetMaxMs: 60_000,
      clockComparison: () => ({ offsetMs, errorMs: 4 }),
      onEvent: (event) => {
        if (event.type === "retrying") offsetMs = 20;
      },
    });
    await done;
    expect(events.find((event) => event.type === "retrying")).toMatchObject({
      fault: { code: "CLOCK_SKEW" },
    });
    expect(world.estate.disk(dataDisk).bitmaps.size).toBe(1);
    expect(world.points()[0]!.instant.clockErrorMs).toBe(24);
  });

  test("while it runs the bound is alarmed about, and points go on", async () => {
    const world = await engineWorld(8);
    let offsetMs = 0;
    const { events, done } = start(world, {
      cycles: 4,
      clockOffsetMaxMs: 60_000,
      clockComparison: () => ({ offsetMs, errorMs: 4 }),
      onEvent: (event) => {
        if (event.type !== "cycle") return;
        offsetMs = event.report.point.sequence === 2 ? 3_600_000 : 0;
      },
    });
    await done;
    const skews = events.flatMap((event) => (event.type === "clock-skew" ? [event] : []));
    expect(skews.map(({ isWithinBound }) => isWithinBound)).toEqual([false, true]);
    expect(world.points()).toHaveLength(4);
  });
});

describe("a stale replicator", () => {
  for (const onStale of ["alarm", "pause"] as const) {
    test(`alarms${onStale === "pause" ? ", pauses its machines" : ""} and ends`, async () => {
      const world = await engineWorld(9);
      const { events, done } = start(world, {
        ...{ cycles: 3, onStale },
        onPhase: (phase) => {
          if (phase === "seal" && world.points().length === 1) {
            const details = { holder: "00000000000000cc", number: 7 };
            throw new Fault("GENERATION_STALE", "taken over", details);
          }
        },
      });
      await expect(done).rejects.toMatchObject({ code: "GENERATION_STALE" });
      const paused = onStale === "pause" ? [machineOf(dataDisk)] : [];
      expect(events.find((event) => event.type === "stale")).toMatchObject({ paused });
      expect(world.estate.machine(machineOf(dataDisk)).isPausedForGood).toBe(onStale === "pause");
    });
  }

  test("a group that another holds is left alone, its machines too", async () => {
    const world = await engineWorld(10);
    await start(world, { cycles: 1 }).done;
    const group = { ...world.group, holder: "00000000000000bb" };
    const { events, done } = start(world, { cycles: 1, onStale: "pause", group });
    await expect(done).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
    expect(events.find((event) => event.type === "stale")).toMatchObject({ paused: [] });
    expect(world.estate.disk(dataDisk).bitmaps.size).toBe(1);
  });
});

describe("a sync", () => {
  test("waits outside its window and says so", async () => {
    const world = await engineWorld(11);
    world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(1));
    const opensAtMs = world.clock.nowMs() + 3 * 3_600_000;
    const { events, done } = start(world, {
      cycles: 1,
      syncMayRun: () => ({ isOpen: world.clock.nowMs() >= opensAtMs, untilMs: opensAtMs }),
    });
    await done;
    expect(events.flatMap((event) => (event.type === "sync-window" ? [event] : []))).toMatchObject([
      { closedUntilMs: opensAtMs },
      { closedUntilMs: null },
    ]);
    expect(world.points()[0]!.instant.lowerMs).toBeGreaterThanOrEqual(opensAtMs);
  });

  test("waits for the link and goes on where the vault has it", async () => {
    const world = await spoolWorld(12);
    for (let at = 0; at < 40; at += 1) {
      world.estate.write(dataDisk, at * blockSizeBytes, new Uint8Array(blockSizeBytes).fill(9));
    }
    let reads = 0;
    const { events, done } = startSpooled(world, {
      cycles: 1,
      onPhase: (phase) => {
        if (phase === "sync-read" && ++reads === 2) world.link.isUp = false;
      },
      onEvent: (event) => {
        if (event.type === "state" && event.previous === "waiting-for-link") {
          world.link.isUp = true;
        }
      },
    });
    await done;
    expect(statesOf(events)).toContain("waiting-for-link");
    await shipAll(world);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

describe("a sync whose link goes", () => {
  test("is not begun anew: what records under it goes on recording while the vault is away", async () => {
    const world = await spoolWorld(15);
    guestActs(world, 8);
    let reads = 0;
    let waits = 0;
    const tracked: string[] = [];
    const { events, done } = startSpooled(world, {
      cycles: 1,
      onPhase: (phase) => {
        if (phase === "sync-track") tracked.push(phase);
        if (phase === "sync-read" && ++reads === 2) world.link.isUp = false;
      },
      onEvent: (event) => {
        guestActs(world);
        if (event.type === "state" && event.previous === "waiting-for-link" && ++waits === 3) {
          world.link.isUp = true;
        }
      },
    });
    await done;
    const removed = events.flatMap((event) => (event.type === "attached" ? event.removed : []));
    expect(removed).toEqual([]);
    // Once for each of the two disks.
    expect(tracked).toHaveLength(2);
    await shipAll(world);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

describe("a group with a spool", () => {
  test("goes on while the vault is away, and lets the kept bitmap go when all is shipped", async () => {
    const world = await spoolWorld(13);
    guestActs(world, 5);
    const shipping = new AbortController();
    const ships = world.intake.run({ signal: shipping.signal });
    let points = 0;
    const started: Started = startSpooled(world, {
      skipsIdleCycles: false,
      onEvent: (event) => {
        guestActs(world);
        if (event.type !== "cycle") return;
        points += 1;
        if (points === 3) world.link.isUp = false;
        if (points === 8) world.link.isUp = true;
        if (points === 14) started.stop.abort();
      },
    });
    await started.done;
    expect(statesOf(started.events)).not.toContain("retrying");
    shipping.abort();
    await ships;
    await shipAll(world);
    expect(world.points()).toHaveLength(14);
    for (const name of [dataDisk, walDisk]) expect(world.estate.disk(name).bitmaps.size).toBe(1);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a full spool is asked again soon, and the guest feels nothing of it", async () => {
    const world = await spoolWorld(14);
    guestActs(world, 5);
    await startSpooled(world, { cycles: 1 }).done;
    await shipAll(world);
    world.capBytes = 2 * blockSizeBytes;
    await world.restartReplicator();
    world.link.isUp = false;
    for (let at = 0; at < 20; at += 1) {
      world.estate.write(dataDisk, at * blockSizeBytes, new Uint8Array(blockSizeBytes).fill(9));
    }
    let retries = 0;
    const phases: string[] = [];
    const { events, done } = startSpooled(world, {
      cycles: 1,
      onPhase: (phase) => void phases.push(phase),
      onEvent: (event) => {
        if (event.type === "retrying" && ++retries === 6) world.link.isUp = true;
      },
    });
    await done;
    const retrying = events.flatMap((event) => (event.type === "retrying" ? [event] : []));
    expect(retrying.every(({ fault }) => fault.code === "SPOOL_FULL")).toBe(true);
    expect(Math.max(...retrying.map(({ delaySeconds }) => delaySeconds))).toBeLessThan(7);
    expect(phases.filter((phase) => phase === "freeze")).toHaveLength(1);
    expect(world.points()).toHaveLength(2);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

function startSpooled(world: SpoolWorld, more: Partial<RunOptions>): Started {
  return start(world, { ...more, journal: world.intake });
}

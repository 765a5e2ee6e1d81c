import { describe, expect, test } from "vitest";
import {
  dataDisk,
  type EngineWorld,
  engineWorld,
  guestActs,
  liveOnce,
  neverAborted,
  walDisk,
  wrongPoints,
} from "../../test/support/engine-world.ts";
import { Fault } from "../base/fault.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { attach } from "./attach.ts";
import { type SyncOptions, syncGroup, syncPhases } from "./sync.ts";
import type { SyncProgress } from "./sync-progress.ts";

const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);

async function syncOnly(world: EngineWorld, more: Partial<SyncOptions> = {}) {
  const { source, journal } = world.connect();
  const { prng, clock } = world;
  const attached = await attach({
    source,
    journal,
    group: world.group,
    prng,
    signal: neverAborted,
  });
  const options = { source, journal, clock, signal: neverAborted, ...more };
  return syncGroup(attached.standing, options);
}

/** Removes every bitmap of ours, as somebody else might. */
function loseBitmaps(world: EngineWorld): void {
  for (const disk of world.estate.disks.values()) disk.bitmaps.clear();
}

describe("an initial sync", () => {
  test("reads what is allocated and stages only what is not zero", async () => {
    const world = await engineWorld(1);
    world.estate.write(dataDisk, 4 * blockSizeBytes, block(7));
    world.estate.write(dataDisk, 5 * blockSizeBytes, block(0));
    const told: SyncProgress[] = [];
    await syncOnly(world, { onProgress: (progress) => told.push(progress) });
    const done = told.filter(({ disk }) => disk === dataDisk).at(-1)!;
    expect(done).toMatchObject({
      readBytes: 2 * blockSizeBytes,
      stagedBytes: blockSizeBytes,
      doneBytes: 40 * blockSizeBytes,
      etaSeconds: 0,
    });
    await liveOnce(world);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("writes of the guest while the disk is read reach the first point", async () => {
    const world = await engineWorld(2);
    guestActs(world, 30);
    await liveOnce(world, { onPhase: () => guestActs(world, 2) });
    expect(await wrongPoints(world)).toEqual([]);
  });
});

describe("a sync that is interrupted", () => {
  for (const [index, phase] of syncPhases.entries()) {
    test(`at ${phase} goes on and ends right`, async () => {
      const world = await engineWorld(300 + index);
      guestActs(world, 30);
      let seen = 0;
      const fail = (at: string) => {
        guestActs(world);
        if (at === phase && ++seen === 2) throw new Fault("NBD_CLOSED", "injected");
      };
      await syncOnly(world, { onPhase: fail, checkpointEveryBytes: 1 }).catch(() => {});
      guestActs(world, 3);
      await liveOnce(world, { onPhase: () => guestActs(world) });
      expect(await wrongPoints(world)).toEqual([]);
    });
  }

  test("resumes where the last checkpoint was and reads nothing below it again", async () => {
    const world = await engineWorld(3);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    let checkpoints = 0;
    const stop = (at: string) => {
      if (at === "sync-checkpoint" && ++checkpoints === 3) throw new Fault("ABORTED", "stop");
    };
    await expect(syncOnly(world, { onPhase: stop, checkpointEveryBytes: 1 })).rejects.toThrow();
    world.estate.write(dataDisk, 0, block(1));
    const told: SyncProgress[] = [];
    const standing = await syncOnly(world, { onProgress: (progress) => told.push(progress) });
    expect(told[0]).toMatchObject({ disk: dataDisk, doneBytes: 32 * blockSizeBytes });
    expect(told.find((progress) => progress.readBytes > 0)).toMatchObject({
      readBytes: 8 * blockSizeBytes,
    });
    expect(standing.disks[0]).toMatchObject({
      state: "syncing",
      resumeAtBytes: 40 * blockSizeBytes,
    });
    const { report } = await liveOnce(world);
    // Only the one write since the sync began is read again.
    expect(report.dirtyBytes).toBe(blockSizeBytes);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("starts over, and keeps what is the same, when its bitmap was lost", async () => {
    const world = await engineWorld(4);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    await syncOnly(world);
    loseBitmaps(world);
    world.estate.write(dataDisk, 7 * blockSizeBytes, block(1));
    const told: SyncProgress[] = [];
    await syncOnly(world, { onProgress: (progress) => told.push(progress) });
    expect(told.filter(({ disk }) => disk === dataDisk).at(-1)).toMatchObject({
      readBytes: 40 * blockSizeBytes,
      stagedBytes: blockSizeBytes,
    });
    await liveOnce(world);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

test("a disk that is cut before its sync has read it is attached again, with its new size", async () => {
  const world = await engineWorld(10);
  world.estate.write(dataDisk, 0, block(3));
  const cut = syncOnly(world, {
    onPhase: (phase) => {
      if (phase === "sync-track") world.estate.resize(dataDisk, 3 * blockSizeBytes + 512);
    },
  });
  await expect(cut).rejects.toMatchObject({ code: "BITMAP_LOST", details: { disk: dataDisk } });
  await liveOnce(world);
  expect(await wrongPoints(world)).toEqual([]);
});

describe("a lost bitmap does not end protection", () => {
  test("only what differs is stored, and the cause is in the point", async () => {
    const world = await engineWorld(5);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    await liveOnce(world);
    loseBitmaps(world);
    world.estate.write(dataDisk, 7 * blockSizeBytes, block(1));
    const told: SyncProgress[] = [];
    await syncOnly(world, { onProgress: (progress) => told.push(progress) });
    const staged = told.filter((progress) => progress.etaSeconds === 0);
    expect(staged.map((progress) => progress.stagedBytes)).toEqual([blockSizeBytes, 0]);
    const { report } = await liveOnce(world);
    expect(report.point.notes.map((note) => note.split(" ")[0])).toEqual([dataDisk, walDisk]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("what became unallocated meanwhile is zero at the vault too", async () => {
    const world = await engineWorld(6);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    await liveOnce(world);
    loseBitmaps(world);
    world.estate.trim(dataDisk, 2 * blockSizeBytes, 20 * blockSizeBytes);
    await liveOnce(world);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a machine restored from a copy of its image resyncs", async () => {
    const world = await engineWorld(7);
    guestActs(world, 10);
    await liveOnce(world);
    const machine = [...world.estate.machines.keys()][0]!;
    world.estate.stopMachine(machine);
    const copy = world.estate.copyImage(dataDisk);
    world.estate.startMachine(machine);
    guestActs(world, 10);
    await liveOnce(world);
    world.estate.stopMachine(machine);
    world.estate.putImage(dataDisk, copy);
    world.estate.startMachine(machine);
    guestActs(world, 2);
    const { report } = await liveOnce(world);
    expect(report.point.notes.join()).toContain("db/data was resynced");
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("the reason given before a fault is still given after it", async () => {
    const world = await engineWorld(8);
    await liveOnce(world);
    loseBitmaps(world);
    const { source, journal } = world.connect();
    const { prng, clock } = world;
    const first = await attach({ source, journal, group: world.group, prng, signal: neverAborted });
    const previous = await syncGroup(first.standing, {
      source,
      journal,
      clock,
      signal: neverAborted,
    });
    const again = await attach({
      source,
      journal,
      group: world.group,
      prng,
      signal: neverAborted,
      previous,
    });
    expect(again.standing.notes).toEqual(first.standing.notes);
  });

  test("a read cap is kept", async () => {
    const world = await engineWorld(9);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    const before = world.clock.monotonicMs();
    let ended = false;
    const sync = syncOnly(world, { readBytesPerSecondMax: 10 * blockSizeBytes }).finally(() => {
      ended = true;
    });
    while (!ended) {
      await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance();
    }
    await sync;
    // The last window is let in when the 32 blocks before it have been paid for.
    expect(world.clock.monotonicMs() - before).toBe(3_200);
  });
});

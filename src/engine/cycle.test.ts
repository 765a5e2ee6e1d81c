import { describe, expect, test } from "vitest";
import {
  cutNext,
  dataDisk,
  engineWorld,
  guestActs,
  journalWithWriter,
  liveOnce,
  neverAborted,
  walDisk,
  wrongPoints,
} from "../../test/support/engine-world.ts";
import { Fault } from "../base/fault.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { attach } from "./attach.ts";
import { cyclePhases, replicateOnce } from "./cycle.ts";
import { isReadyToCut } from "./standing.ts";

const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);

describe("a cycle", () => {
  test("seals what the source held at its instant, whatever the guest writes meanwhile", async () => {
    const world = await engineWorld(1);
    guestActs(world, 20);
    let { standing } = await liveOnce(world, { onPhase: () => guestActs(world) });
    for (let round = 0; round < 10; round += 1) {
      guestActs(world, 3);
      ({ standing } = await cutNext(world, standing, { onPhase: () => guestActs(world) }));
    }
    expect(world.points()).toHaveLength(11);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("reads and stores nothing outside the dirty extents", async () => {
    const world = await engineWorld(2);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    const { standing } = await liveOnce(world);
    // Blocks 3, 15 and 16 (two windows), 20 trimmed, 21 zeroed by data: five blocks of 44.
    world.estate.write(dataDisk, 3 * blockSizeBytes, block(1));
    world.estate.write(dataDisk, 15 * blockSizeBytes, block(1));
    world.estate.write(dataDisk, 16 * blockSizeBytes + 512, new Uint8Array(512).fill(1));
    world.estate.trim(dataDisk, 20 * blockSizeBytes, blockSizeBytes);
    world.estate.write(dataDisk, 21 * blockSizeBytes, block(0));
    const read: string[] = [];
    const { source, journal } = world.connect();
    const stored: string[] = [];
    const noted = (at: number, length: number) =>
      stored.push(`${at / blockSizeBytes}+${length / blockSizeBytes}`);
    const { report } = await replicateOnce({
      ...world,
      journal: journalWithWriter(journal, (writer) => ({
        write: (disk, offsetBytes, data) => {
          noted(offsetBytes, data.length);
          return writer.write(disk, offsetBytes, data);
        },
        zero: (disk, offsetBytes, lengthBytes) => {
          noted(offsetBytes, lengthBytes);
          return writer.zero(disk, offsetBytes, lengthBytes);
        },
      })),
      standing,
      signal: neverAborted,
      source: {
        ...source,
        freeze: async (request) => {
          const snapshot = await source.freeze(request);
          return {
            ...snapshot,
            read: (disk, offsetBytes, into) => {
              read.push(`${disk} ${offsetBytes / blockSizeBytes}+${into.length / blockSizeBytes}`);
              return snapshot.read(disk, offsetBytes, into);
            },
          };
        },
      },
    });
    expect(read).toEqual([
      `${dataDisk} 3+1`,
      `${dataDisk} 15+1`,
      `${dataDisk} 16+1`,
      `${dataDisk} 21+1`,
    ]);
    expect(stored.sort()).toEqual(["15+1", "16+1", "20+2", "3+1"]);
    expect(report).toMatchObject({
      dirtyBytes: 5 * blockSizeBytes,
      readBytes: 4 * blockSizeBytes,
      dataBytes: 3 * blockSizeBytes,
      zeroBytes: 2 * blockSizeBytes,
      readAmplification: 0.8,
    });
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("an empty cycle seals a point and stores no block", async () => {
    const world = await engineWorld(4);
    const { standing } = await liveOnce(world);
    const { report } = await cutNext(world, standing);
    expect(report).toMatchObject({ dirtyBytes: 0, readBytes: 0, readAmplification: null });
    expect(world.points()).toHaveLength(2);
  });

  test("reports RPO from the lower bound of the head before, not of the new point", async () => {
    const world = await engineWorld(5);
    const { standing } = await liveOnce(world);
    const before = world.points()[0]!.instant.lowerMs;
    world.clock.advanceBy(7_000);
    const { report } = await cutNext(world, standing);
    expect(report.rpoSeconds).toBe((world.clock.nowMs() - before) / 1000);
    expect(report.lagSeconds).toBe(0);
  });

  test("a vault that answers the seal with a fault but holds the point is believed", async () => {
    const world = await engineWorld(6);
    const { standing } = await liveOnce(world);
    const { source, journal } = world.connect();
    const outcome = await replicateOnce({
      ...world,
      source,
      standing,
      signal: neverAborted,
      journal: journalWithWriter(journal, (writer) => ({
        seal: async (cost) => {
          await writer.seal(cost);
          throw new Fault("STORAGE_FAILED", "the answer was lost");
        },
      })),
    });
    expect(outcome.report.point.sequence).toBe(2);
    guestActs(world, 3);
    await liveOnce(world);
    expect(await wrongPoints(world)).toEqual([]);
    expect(world.points()[2]!.notes).toEqual([]);
  });

  test("refuses to cut from a head that is not the vault's", async () => {
    const world = await engineWorld(7);
    const { standing } = await liveOnce(world);
    await cutNext(world, standing);
    await expect(cutNext(world, standing)).rejects.toMatchObject({ code: "SEAL_REFUSED" });
  });
});

describe("no change is lost because a cycle failed", () => {
  const sealedAt = cyclePhases.indexOf("forget");
  for (const [index, phase] of cyclePhases.entries()) {
    test(`a fault at ${phase} gives the point up and the next carries everything`, async () => {
      const world = await engineWorld(100 + index);
      guestActs(world, 10);
      const { standing } = await liveOnce(world);
      guestActs(world, 5);
      const failAt = (at: string) => {
        guestActs(world);
        if (at === phase) throw new Fault("STORAGE_FULL", "injected");
      };
      const failed = cutNext(world, standing, { onPhase: failAt });
      if (index < sealedAt) await expect(failed).rejects.toMatchObject({ code: "STORAGE_FULL" });
      else expect((await failed).forgetError).toBeInstanceOf(Fault);
      guestActs(world, 5);
      const { report } = await liveOnce(world, { onPhase: () => guestActs(world) });
      expect(report.point.notes).toEqual([]);
      expect(await wrongPoints(world)).toEqual([]);
    });

    test(`an abort at ${phase} ends the cycle cleanly`, async () => {
      const world = await engineWorld(200 + index);
      const { standing } = await liveOnce(world);
      guestActs(world, 5);
      const abort = new AbortController();
      const onPhase = (at: string) => {
        if (at === phase) abort.abort(new Fault("ABORTED", "stopped"));
      };
      const ended = cutNext(world, standing, { onPhase, signal: abort.signal });
      if (index < sealedAt) await expect(ended).rejects.toMatchObject({ code: "ABORTED" });
      else await ended;
      for (const disk of world.estate.disks.values()) {
        expect(disk.fleece).toBeNull();
        expect(disk.bitmaps.size).toBe(1);
      }
      await liveOnce(world);
      expect(await wrongPoints(world)).toEqual([]);
    });
  }

  test("a vault that fails inside the seal leaves the bitmaps as they were", async () => {
    const world = await engineWorld(12);
    const { standing } = await liveOnce(world);
    guestActs(world, 5);
    const { source, journal } = world.connect();
    const failing = journalWithWriter(journal, () => ({
      seal: () => Promise.reject(new Fault("STORAGE_FULL", "injected")),
    }));
    const options = { ...world, source, journal: failing, standing, signal: neverAborted };
    await expect(replicateOnce(options)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    const { report } = await cutNext(world, standing);
    expect(report.point.sequence).toBe(2);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("scratch that runs full costs the point, not the guest and no data", async () => {
    const world = await engineWorld(13);
    guestActs(world, 10);
    const { standing } = await liveOnce(world);
    world.scratchBlocksMax = 4;
    const overwrite = (at: string) => {
      if (at !== "read") return;
      for (let number = 0; number < 8; number += 1) {
        world.estate.write(dataDisk, number * blockSizeBytes, block(number + 1));
      }
    };
    world.estate.write(dataDisk, 30 * blockSizeBytes, block(5));
    const failed = cutNext(world, standing, { onPhase: overwrite });
    await expect(failed).rejects.toMatchObject({ code: "SCRATCH_FULL" });
    const { report } = await cutNext(world, standing);
    expect(report.point.sequence).toBe(2);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a machine that is killed while it is read costs a resync of its disks and no data", async () => {
    const world = await engineWorld(8);
    guestActs(world, 10);
    const { standing } = await liveOnce(world);
    guestActs(world, 5);
    const machine = [...world.estate.machines.keys()][0]!;
    const kill = (at: string) => {
      if (at === "write") world.estate.killMachine(machine);
    };
    const failed = cutNext(world, standing, { onPhase: kill });
    await expect(failed).rejects.toMatchObject({ code: "QMP_CLOSED" });
    world.estate.startMachine(machine);
    guestActs(world, 5);
    const { report } = await liveOnce(world);
    expect(report.point.notes).toHaveLength(2);
    expect(report.point.notes[0]).toContain("db/data was resynced by hash");
    expect(await wrongPoints(world)).toEqual([]);
  });
});

describe("no disk is forgotten or mistaken", () => {
  test("a grown disk brings its tail, a shrunk one seals zeroes for what was cut", async () => {
    const world = await engineWorld(9);
    for (let at = 0; at < 40; at += 1) world.estate.write(dataDisk, at * blockSizeBytes, block(9));
    let { standing } = await liveOnce(world);
    world.estate.resize(dataDisk, 10 * blockSizeBytes + 1024);
    ({ standing } = await cutNext(world, standing));
    expect(world.points().at(-1)!.cost.zeroBytes).toBe(30 * blockSizeBytes - 1024);
    world.estate.resize(dataDisk, 50 * blockSizeBytes);
    world.estate.write(dataDisk, 49 * blockSizeBytes, block(3));
    ({ standing } = await cutNext(world, standing));
    expect(await wrongPoints(world)).toEqual([]);
    expect(world.points().map((point) => point.disks[0]!.previousSizeBytes)).toEqual([
      null,
      40 * blockSizeBytes,
      10 * blockSizeBytes + 1024,
    ]);
  });

  test("a disk that comes is synced first, one that goes is noted, one that returns is a new life", async () => {
    const world = await engineWorld(10);
    guestActs(world, 10);
    await liveOnce(world);
    const first = world.points()[0]!.disks.find((disk) => disk.name === walDisk)!;
    world.disks = [dataDisk];
    const { report } = await liveOnce(world);
    expect(report.point.notes).toEqual(["db/wal was removed from the group."]);
    world.disks = [dataDisk, walDisk];
    guestActs(world, 5);
    const again = await liveOnce(world);
    expect(again.report.point.notes).toEqual(["db/wal was added to the group."]);
    const second = again.report.point.disks.find((disk) => disk.name === walDisk)!;
    expect(second.identity).not.toBe(first.identity);
    expect(second.previousSizeBytes).toBeNull();
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a disk that changed its size since it was read whole is not sealed", async () => {
    const world = await engineWorld(11);
    const { source, journal } = world.connect();
    const { standing } = await attach({
      source,
      journal,
      group: world.group,
      prng: world.prng,
      signal: neverAborted,
    });
    expect(isReadyToCut(standing)).toBe(false);
    const grow = (at: string) => {
      if (at === "ask-head") world.estate.resize(dataDisk, 60 * blockSizeBytes);
    };
    await expect(liveOnce(world, { onPhase: grow })).rejects.toMatchObject({ code: "BITMAP_LOST" });
    await liveOnce(world);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

import { describe, expect, test } from "vitest";
import { dataDisk, guestActs, wrongPoints } from "../../../test/support/engine-world.ts";
import { begun, cutPoints, holes, notes, sequences } from "../../../test/support/spool-lives.ts";
import {
  cutOnce,
  groupDirectory,
  type SpoolWorld,
  shipAll,
  spoolWorld,
} from "../../../test/support/spool-world.ts";
import { machineOf } from "../../core/ids.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import type { DirectoryJournal } from "../../journal/directory-journal.ts";

describe("a spool that is lost or damaged: a hole in history, none in data", () => {
  const damages: Record<string, (world: SpoolWorld, path: string) => Promise<void>> = {
    removed: (world, path) => world.files.remove(path),
    "cut short": async (world, path) => {
      await using file = await world.files.open(path, "write");
      await file.truncate((await file.sizeBytes()) - 1);
    },
    "rotten in its data": async (world, path) => {
      await using file = await world.files.open(path, "write");
      await file.write(new Uint8Array(16).fill(0xdd), 20_000);
    },
    "rotten in its trailer": async (world, path) => {
      await using file = await world.files.open(path, "write");
      await file.write(new Uint8Array(16).fill(0xdd), (await file.sizeBytes()) - 40);
    },
  };
  for (const [damage, inflict] of Object.entries(damages)) {
    for (const index of [0, 1, 2]) {
      for (const restarts of [true, false]) {
        const when = restarts ? "before a start" : "while we run";
        test(`delta ${index} of three, ${damage} ${when}`, async () => {
          const world = await begun(40 + index);
          world.link.isUp = false;
          for (let round = 0; round < 3; round += 1) {
            const written = new Uint8Array(blockSizeBytes).fill(round + 1);
            world.estate.write(dataDisk, round * blockSizeBytes, written);
            await cutOnce(world);
          }
          guestActs(world, 3);
          const names = (await world.files.list(groupDirectory)).filter((name) => name !== "state");
          await inflict(world, `${groupDirectory}/${names[index]}`);
          if (restarts) await world.restartReplicator();
          world.link.isUp = true;
          await shipAll(world);
          expect(holes(world)).toHaveLength(1);
          expect(sequences(world)).toEqual([1, 2, 3].slice(0, 1 + index));
          guestActs(world, 3);
          await cutOnce(world);
          await shipAll(world);
          expect(notes(world)).toEqual([]);
          expect(world.points()).toHaveLength(index + 2);
          expect(await wrongPoints(world)).toEqual([]);
        });
      }
    }
  }

  test("a medium that fails to read now and then costs time, and no point", async () => {
    const world = await begun(49);
    world.link.isUp = false;
    await cutPoints(world, 3);
    world.link.isUp = true;
    world.kills.readsToFail = 3;
    await shipAll(world);
    expect(world.kills.readsToFail).toBe(0);
    expect(holes(world)).toEqual([]);
    expect(sequences(world)).toEqual([1, 2, 3, 4]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a medium that reads a point no more costs that point and those behind it", async () => {
    const world = await begun(48);
    world.link.isUp = false;
    await cutPoints(world, 3);
    world.link.isUp = true;
    world.kills.readsToFail = 1_000_000;
    await shipAll(world);
    world.kills.readsToFail = 0;
    expect(holes(world)).toHaveLength(1);
    expect(sequences(world)).toEqual([1]);
  });

  test("a spool that lost its state is asked of the vault, and counts from its head", async () => {
    const world = await begun(50);
    world.link.isUp = false;
    await cutPoints(world, 3);
    await world.files.removeDirectory(groupDirectory);
    await world.restartReplicator();
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_LOST" });
    world.link.isUp = true;
    await cutPoints(world, 1);
    await shipAll(world);
    expect(world.points()).toHaveLength(2);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a state with one bit wrong is no state", async () => {
    const world = await begun(51);
    world.link.isUp = false;
    await cutPoints(world, 2);
    await using file = await world.files.open(`${groupDirectory}/state`, "write");
    await file.write(Buffer.from("7"), 300);
    await world.restartReplicator();
    expect(world.intake.head()).toBeNull();
    world.link.isUp = true;
    await cutPoints(world, 1);
    await shipAll(world);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("an image that was restored while points were lost is resynced, not believed", async () => {
    const world = await begun(52);
    const machine = machineOf(dataDisk);
    world.estate.stopMachine(machine);
    const copy = world.estate.copyImage(dataDisk);
    world.estate.startMachine(machine);
    world.link.isUp = false;
    world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(0x55));
    await cutOnce(world);
    await cutPoints(world, 2);
    // Its bitmap is the vault's head's, and knows nothing of what the first spooled point holds.
    world.estate.stopMachine(machine);
    world.estate.putImage(dataDisk, copy);
    world.estate.startMachine(machine);
    const names = await world.files.list(groupDirectory);
    await world.files.remove(`${groupDirectory}/${names[1]}`);
    await world.restartReplicator();
    world.link.isUp = true;
    await shipAll(world);
    await cutOnce(world);
    await shipAll(world);
    expect(notes(world).join()).toContain("db/data was resynced by hash");
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a disk that was shrunk and grown in lost points is read whole behind its smallest end", async () => {
    const world = await begun(53);
    for (let at = 0; at < 40; at += 1) {
      world.estate.write(dataDisk, at * blockSizeBytes, new Uint8Array(blockSizeBytes).fill(9));
    }
    await cutPoints(world, 1);
    await shipAll(world);
    world.link.isUp = false;
    world.estate.resize(dataDisk, 10 * blockSizeBytes);
    await cutOnce(world);
    world.estate.resize(dataDisk, 50 * blockSizeBytes);
    await cutOnce(world);
    for (const name of await world.files.list(groupDirectory)) {
      if (name !== "state") await world.files.remove(`${groupDirectory}/${name}`);
    }
    await world.restartReplicator();
    world.link.isUp = true;
    await cutOnce(world);
    await shipAll(world);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a point being cut while those before it are lost is cut anew, and is no second hole", async () => {
    const world = await begun(54);
    world.link.isUp = false;
    await cutPoints(world, 2);
    const names = await world.files.list(groupDirectory);
    await world.files.remove(`${groupDirectory}/${names[0]}`);
    guestActs(world, 3);
    const cut = cutOnce(world, {
      onPhase: async (phase) => {
        if (phase !== "release") return;
        world.link.isUp = true;
        await shipAll(world);
      },
    });
    await expect(cut).rejects.toMatchObject({ code: "SEAL_REFUSED" });
    await cutPoints(world, 1);
    await shipAll(world);
    expect(holes(world)).toMatchObject([{ points: 2, fromSequence: 2, toSequence: 3 }]);
    expect(world.points()).toHaveLength(2);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });
});

describe("the spool's bounds", () => {
  test("at the cap the point is given up, bitmaps gather, and nothing is lost", async () => {
    const world = await begun(60);
    world.capBytes = 10 * blockSizeBytes;
    await world.restartReplicator();
    world.link.isUp = false;
    for (let at = 0; at < 30; at += 1) {
      world.estate.write(
        dataDisk,
        at * blockSizeBytes,
        new Uint8Array(blockSizeBytes).fill(at + 1),
      );
    }
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "SPOOL_FULL" });
    expect(world.estate.disk(dataDisk).fleece).toBeNull();
    expect(world.intake.status()).toMatchObject({ points: 0, usedBytes: 0 });
    expect(await world.files.list(groupDirectory)).toEqual(["state"]);
    world.link.isUp = true;
    await cutOnce(world);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a spool known to be full costs the guest no point in time", async () => {
    const world = await begun(61);
    world.capBytes = 20 * blockSizeBytes;
    await world.restartReplicator();
    world.link.isUp = false;
    const phases: string[] = [];
    const cut = cutOnce(world, {
      dirtyBytes: 100 * blockSizeBytes,
      onPhase: (phase) => void phases.push(phase),
    });
    await expect(cut).rejects.toMatchObject({ code: "SPOOL_FULL" });
    expect(phases).not.toContain("freeze");
    expect(world.events.filter(({ type }) => type === "spool-full")).toHaveLength(1);
  });

  for (const fate of ["fine", "lost", "lost-answer"] as const) {
    const what = fate === "fine" ? "" : `, though its first answer is ${fate}`;
    test(`a sync's point that is larger than the spool goes to the vault at once${what}`, async () => {
      const world = await spoolWorld(64);
      world.capBytes = 10 * blockSizeBytes;
      await world.restartReplicator();
      guestActs(world, 10);
      const cut = () =>
        cutOnce(world, {
          onPhase: (phase) => {
            if (phase === "freeze") overwrite(world, 30);
          },
        });
      await expect(cut()).rejects.toMatchObject({ code: "SPOOL_FULL" });
      world.link.isUp = false;
      await expect(cut()).rejects.toMatchObject({ code: "SPOOL_FULL" });
      world.link.isUp = true;
      if (fate !== "fine") {
        world.link.fate = (call) => (call === "seal" ? fate : "fine");
        await expect(cut()).rejects.toMatchObject({ code: "LINK_LOST" });
        world.link.fate = () => "fine";
      }
      const { report } = await cut();
      expect(report.via).toBe("direct");
      const routes = world.events.filter((event) => event.type === "route");
      expect(routes.at(-1)).toMatchObject({ route: "direct" });
      expect(routes.some(({ reason }) => reason.includes("no room for the point"))).toBe(true);
      for (let round = 0; round < 2; round += 1) {
        await cutPoints(world, 1);
        await shipAll(world);
      }
      expect(holes(world)).toEqual([]);
      expect(notes(world)).toEqual([]);
      expect(await wrongPoints(world)).toEqual([]);
    });
  }

  test("the reserve of free space is left alone", async () => {
    const world = await begun(62);
    world.reserveBytes = 2 ** 50;
    await world.restartReplicator();
    world.link.isUp = false;
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "SPOOL_FULL" });
  });

  test("room that was taken is given back when points are shipped", async () => {
    const world = await begun(63);
    world.link.isUp = false;
    await cutPoints(world, 3);
    expect(world.intake.status().usedBytes).toBe(world.intake.status().bytes);
    expect(world.intake.status().bytes).toBeGreaterThan(0);
    world.link.isUp = true;
    await shipAll(world);
    expect(world.intake.status().usedBytes).toBe(0);
  });
});

describe("data never flows the wrong way", () => {
  test("points of an older generation of ours are dropped, and counting goes on", async () => {
    const world = await begun(71);
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.link.isUp = true;
    const journal = world.journal as DirectoryJournal;
    await journal.raiseGeneration({ holder: world.holder, reason: "a drill is over" });
    await shipAll(world);
    expect(holes(world)).toMatchObject([{ points: 2, fromSequence: 2, toSequence: 3 }]);
    await cutPoints(world, 1);
    await shipAll(world);
    expect(world.points().map(({ generation }) => generation.number)).toEqual([1, 2]);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a group that is ours again after shipping had stopped is shipped by the same run", async () => {
    const world = await begun(72);
    world.link.isUp = false;
    await cutPoints(world, 2);
    const journal = world.journal as DirectoryJournal;
    await journal.raiseGeneration({ holder: "00000000000000bb", reason: "a takeover" });
    world.link.isUp = true;
    const stop = new AbortController();
    const running = world.intake.run({ signal: stop.signal });
    const until = async (isThere: () => boolean) => {
      for (let turn = 0; turn < 300 && !isThere(); turn += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        world.clock.advance();
      }
    };
    await until(() => world.events.some(({ type }) => type === "shipping-stopped"));
    await journal.raiseGeneration({ holder: world.holder, reason: "given back" });
    world.link.bytesPerSecond = 1_000_000;
    guestActs(world, 3);
    const { report } = await cutOnce(world, { dirtyBytes: 20_000_000 });
    expect(report.via).toBe("spool");
    await until(() => world.intake.status().points === 0);
    expect(world.intake.status().points).toBe(0);
    stop.abort();
    await running;
    expect(world.points().map(({ generation }) => generation.number)).toEqual([1, 3]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a group that another holds is neither cut nor shipped", async () => {
    const world = await begun(70);
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.holder = "00000000000000bb";
    await world.restartReplicator();
    world.link.isUp = true;
    await shipAll(world);
    expect(world.events.at(-1)).toMatchObject({
      type: "shipping-stopped",
      fault: { code: "GENERATION_CONFLICT" },
    });
    expect(sequences(world)).toEqual([1]);
    await expect(world.intake.ask()).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
  });
});

/** The guest writes so many blocks, new content each time. */
function overwrite(world: SpoolWorld, blocks: number): void {
  for (let at = 0; at < blocks; at += 1) {
    const written = new Uint8Array(blockSizeBytes).fill(world.prng.below(255) + 1);
    world.estate.write(dataDisk, at * blockSizeBytes, written);
  }
}

import { describe, expect, test } from "vitest";
import { dataDisk, guestActs, walDisk, wrongPoints } from "../../../test/support/engine-world.ts";
import { begun, cutPoints, holes, notes, sequences } from "../../../test/support/spool-lives.ts";
import {
  cutOnce,
  groupDirectory,
  inVirtualTime,
  type LinkCall,
  type SpoolWorld,
  shipAll,
  spoolWorld,
} from "../../../test/support/spool-world.ts";
import { blockSizeBytes } from "../../core/limits.ts";

describe("while the vault is away", () => {
  test("points go on being cut, and are shipped in order: history has no hole", async () => {
    const world = await begun(1);
    world.link.isUp = false;
    const outcomes = await cutPoints(world, 4);
    expect(outcomes.map(({ report }) => report.via)).toEqual(["spool", "spool", "spool", "spool"]);
    expect(sequences(world)).toEqual([1]);
    world.link.isUp = true;
    await shipAll(world);
    expect(sequences(world)).toEqual([1, 2, 3, 4, 5]);
    expect(world.intake.owedSince()).toBeNull();
    expect(await wrongPoints(world)).toEqual([]);
    expect(await world.files.list(groupDirectory)).toEqual(["state"]);
  });

  test("RPO grows from what the vault acknowledged, however young the newest point is", async () => {
    const world = await begun(2);
    const atVault = world.points()[0]!.instant.lowerMs;
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.clock.advanceBy(60_000);
    const [outcome] = await cutPoints(world, 1);
    expect(outcome!.report.cutLagSeconds).toBe(0);
    expect(outcome!.report.lagSeconds).toBeNull();
    expect(outcome!.report.rpoSeconds).toBe((world.clock.nowMs() - atVault) / 1000);
  });

  test("a replicator that was killed goes on from what it remembers", async () => {
    const world = await begun(3);
    world.link.isUp = false;
    await cutPoints(world, 2);
    await world.restartReplicator();
    await cutPoints(world, 2);
    world.link.isUp = true;
    await shipAll(world);
    expect(sequences(world)).toEqual([1, 2, 3, 4, 5]);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a replicator that never reached its vault cuts nothing", async () => {
    const world = await spoolWorld(4);
    world.link.isUp = false;
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_LOST" });
    expect(world.estate.disk(dataDisk).bitmaps.size).toBe(0);
  });

  test("the vault's head's bitmap stays until all that waits is acknowledged", async () => {
    const world = await begun(5);
    const headName = [...world.estate.disk(dataDisk).bitmaps.keys()][0]!;
    world.link.isUp = false;
    await cutPoints(world, 3);
    const names = [...world.estate.disk(dataDisk).bitmaps.keys()];
    expect(names).toContain(headName);
    expect(names).toHaveLength(2);
    world.link.isUp = true;
    await shipAll(world);
    await cutPoints(world, 1);
    await world.restartReplicator();
    await cutPoints(world, 1);
    expect(world.estate.disk(dataDisk).bitmaps.size).toBe(1);
  });

  test("a sync that was read whole is completed by a point in the spool", async () => {
    const world = await spoolWorld(6);
    guestActs(world, 10);
    const { report } = await cutOnce(world, {
      onPhase: (phase) => {
        if (phase === "freeze") world.link.isUp = false;
      },
    });
    expect(report.via).toBe("spool");
    await cutPoints(world, 2);
    world.link.isUp = true;
    await shipAll(world);
    expect(sequences(world)).toEqual([1, 2, 3]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a disk that needs a resync waits until the points before it are shipped", async () => {
    const world = await begun(7);
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.estate.disk(walDisk).bitmaps.clear();
    guestActs(world, 5);
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_LOST" });
    world.link.isUp = true;
    await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_STALLED" });
    await shipAll(world);
    await cutOnce(world);
    await shipAll(world);
    expect(notes(world).join()).toContain("db/wal was resynced by hash");
    expect(await wrongPoints(world)).toEqual([]);
  });
});

test("parts that a waiting point takes over are not discarded, however often we begin anew", async () => {
  const world = await spoolWorld(8);
  guestActs(world, 10);
  await cutOnce(world);
  await world.restartReplicator();
  await cutPoints(world, 1);
  await shipAll(world);
  expect(sequences(world)).toEqual([1, 2]);
  expect(holes(world)).toEqual([]);
  expect(await wrongPoints(world)).toEqual([]);
});

test("parts that are only remembered are not touched before the vault was asked", async () => {
  const world = await begun(9);
  world.link.fate = (call) => (call === "ask" ? "lost" : "fine");
  await world.intake.ask();
  world.link.calls.length = 0;
  const [disk] = world.points()[0]!.disks;
  const { name, identity, sizeBytes } = disk!;
  const syncId = world.points()[0]!.id;
  await using parts = await world.intake.stage({
    ...{ kind: "base", disk: name, identity, sizeBytes, syncId },
  });
  await expect(parts.discard()).rejects.toMatchObject({ code: "LINK_LOST" });
  expect(world.link.calls).toEqual([]);
});

describe("a lost answer does no harm", () => {
  test("acknowledged points that could not be struck off are still there after a kill", async () => {
    const world = await begun(23);
    world.link.isUp = false;
    await cutPoints(world, 3);
    world.link.isUp = true;
    world.kills.mode = "full";
    world.kills.killAt = world.kills.changes + 1;
    await shipAll(world);
    expect(world.events.some(({ type }) => type === "spool-state-behind")).toBe(true);
    await world.restartReplicator();
    await shipAll(world);
    expect(holes(world)).toEqual([]);
    expect(world.intake.status()).toMatchObject({ points: 0, usedBytes: 0 });
    await cutPoints(world, 1);
    expect(notes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("a point that was shipped and not acknowledged is not shipped again", async () => {
    const world = await begun(20);
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.link.isUp = true;
    let losses = 1;
    world.link.fate = (call) => (call === "seal" && losses-- > 0 ? "lost-answer" : "fine");
    world.link.calls.length = 0;
    await shipAll(world);
    expect(world.link.calls.filter((call) => call === "seal")).toHaveLength(2);
    expect(sequences(world)).toEqual([1, 2, 3]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("an answer that was overtaken by an acknowledgement is asked for again", async () => {
    const world = await begun(26);
    world.link.isUp = false;
    await cutPoints(world, 2);
    world.link.isUp = true;
    const gate = Promise.withResolvers<void>();
    world.link.isHeard = gate.promise;
    let asked = 0;
    world.link.fate = (call) => (call === "ask" && ++asked === 1 ? "late" : "fine");
    const asking = world.intake.ask();
    const stop = new AbortController();
    const running = world.intake.run({ signal: stop.signal });
    for (let turn = 0; turn < 1000 && world.intake.status().points > 0; turn += 1) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    gate.resolve();
    expect((await asking).head?.sequence).toBe(3);
    expect(world.intake.acknowledged?.()?.sequence).toBe(3);
    stop.abort();
    await running;
    expect(holes(world)).toEqual([]);
  });

  test("a vault that is ahead of us, in the middle of the spool, is believed", async () => {
    const world = await begun(21);
    world.link.isUp = false;
    await cutPoints(world, 4);
    // Shipped by a life that could not write down what was acknowledged.
    const copy = await filesOf(world);
    world.link.isUp = true;
    world.link.fate = (call) => (call === "seal" && world.points().length === 3 ? "lost" : "fine");
    await shipAll(world, 20);
    await putFiles(world, copy);
    world.link.fate = () => "fine";
    await world.restartReplicator();
    await shipAll(world);
    expect(sequences(world)).toEqual([1, 2, 3, 4, 5]);
    expect(holes(world)).toEqual([]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  for (const arrived of [1, 2]) {
    test(`points dropped as damaged, ${arrived} of which the vault had, are gone on from without a resync`, async () => {
      const world = await begun(25);
      world.link.isUp = false;
      await cutPoints(world, 2);
      const copy = new Map(await filesOf(world));
      world.link.isUp = true;
      const isFull = () => world.points().length === 1 + arrived;
      world.link.fate = (call) => (call === "seal" && isFull() ? "lost" : "fine");
      await shipAll(world, 20);
      world.link.fate = () => "fine";
      // A power cut takes back what the replicator wrote of it, and a delta with it.
      const [first] = [...copy.keys()].filter((name) => name !== "state");
      copy.delete(first!);
      await putFiles(world, copy);
      world.link.isUp = false;
      await world.restartReplicator();
      await cutPoints(world, 2);
      world.link.isUp = true;
      await shipAll(world);
      expect(holes(world)).toHaveLength(1);
      expect(sequences(world)).toEqual([1, 2, 3].slice(0, 1 + arrived).concat(4, 5));
      await cutPoints(world, 2);
      await shipAll(world);
      expect(notes(world)).toEqual([]);
      expect(await wrongPoints(world)).toEqual([]);
    });
  }

  for (const isThere of [true, false]) {
    for (const isKilled of [true, false]) {
      const what = isThere ? "was sealed" : "never arrived";
      test(`a direct point that ${what} ${isKilled ? "when we were killed" : "unheard"} leaves no hole`, async () => {
        const world = await begun(22);
        await cutPoints(world, 1);
        guestActs(world, 5);
        world.link.fate = (call) => {
          if (call !== "seal") return "fine";
          world.link.isUp = false;
          return isThere ? "lost-answer" : "lost";
        };
        await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_LOST" });
        world.link.fate = () => "fine";
        if (isKilled) await world.restartReplicator();
        await cutPoints(world, 3);
        world.link.isUp = true;
        await shipAll(world);
        expect(sequences(world)).toEqual(isThere ? [1, 2, 3, 4, 5, 6] : [1, 2, 4, 5, 6]);
        expect(holes(world)).toEqual([]);
        expect(notes(world)).toEqual([]);
        await cutPoints(world, 2);
        await shipAll(world);
        expect(await wrongPoints(world)).toEqual([]);
      });
    }
  }
});

test("a point that goes on from one that was sealed unheard is cut to that one's disks", async () => {
  const world = await begun(24);
  for (let at = 0; at < 40; at += 1) {
    world.estate.write(dataDisk, at * blockSizeBytes, new Uint8Array(blockSizeBytes).fill(9));
  }
  await cutPoints(world, 1);
  world.estate.resize(dataDisk, 512);
  world.link.fate = (call) => {
    if (call === "seal") world.link.isUp = false;
    return call === "seal" ? "lost-answer" : "fine";
  };
  await expect(cutOnce(world)).rejects.toMatchObject({ code: "LINK_LOST" });
  world.link.fate = () => "fine";
  await cutOnce(world);
  world.estate.resize(dataDisk, 20 * blockSizeBytes);
  await cutOnce(world);
  world.link.isUp = true;
  await shipAll(world);
  expect(sequences(world)).toEqual([1, 2, 3, 4, 5]);
  expect(await wrongPoints(world)).toEqual([]);
});

describe("a point in time is never held for the link", () => {
  test("a link that fails under a point diverts it: the same snapshot is read again", async () => {
    const world = await begun(30);
    for (let at = 0; at < 40; at += 2) {
      world.estate.write(dataDisk, at * blockSizeBytes, new Uint8Array(blockSizeBytes).fill(at));
    }
    let writes = 0;
    world.link.fate = (call) => (call === "write" && ++writes === 3 ? "lost" : "fine");
    const { report } = await cutOnce(world, { onPhase: () => guestActs(world) });
    expect(report.via).toBe("spool");
    expect(report.point.id).toBe(world.intake.head()!.id);
    await shipAll(world);
    expect(sequences(world)).toEqual([1, 2]);
    expect(await wrongPoints(world)).toEqual([]);
  });

  for (const call of ["begin", "write"] as const satisfies readonly LinkCall[]) {
    test(`a link that hangs at ${call} is noticed within 1.5 s`, async () => {
      const world = await begun(31);
      world.estate.write(dataDisk, 0, new Uint8Array(blockSizeBytes).fill(7));
      world.link.fate = (at) => (at === call ? "hangs" : "fine");
      const startedAtMs = world.clock.monotonicMs();
      const { report } = await inVirtualTime(world, cutOnce(world));
      expect(report.via).toBe("spool");
      expect(world.clock.monotonicMs() - startedAtMs).toBeLessThanOrEqual(1_750);
    });
  }

  test("runs of zeroes that each wait for a round trip do not hold it for all of them", async () => {
    const world = await begun(33);
    for (let at = 0; at < 40; at += 1) {
      const offsetBytes = at * blockSizeBytes;
      if (at % 2 === 0) world.estate.trim(dataDisk, offsetBytes, blockSizeBytes);
      else world.estate.write(dataDisk, offsetBytes, new Uint8Array(blockSizeBytes).fill(at));
    }
    world.link.fate = (call) => (call === "zero" ? "late" : "fine");
    Object.defineProperty(world.link, "isHeard", { get: () => world.clock.sleep(200) });
    const atMs = new Map<string, number>();
    const cutting = cutOnce(world, {
      onPhase: (phase) => void atMs.set(phase, world.clock.monotonicMs()),
    });
    const { report } = await inVirtualTime(world, cutting);
    expect(report.via).toBe("spool");
    expect(atMs.get("release")! - atMs.get("freeze")!).toBeLessThan(2_500);
    world.link.fate = () => "fine";
    await shipAll(world);
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("what would ship slower than it is read goes through the spool from the start", async () => {
    const world = await begun(32);
    world.link.bytesPerSecond = 1_000_000;
    guestActs(world, 3);
    const slow = await cutOnce(world, { dirtyBytes: 20_000_000 });
    expect(slow.report.via).toBe("spool");
    await shipAll(world);
    guestActs(world, 3);
    const quick = await cutOnce(world, { dirtyBytes: 100_000 });
    expect(quick.report.via).toBe("direct");
    expect(await wrongPoints(world)).toEqual([]);
  });

  test("after a divert points stay with the spool until it is empty", async () => {
    const world = await begun(33);
    world.link.isUp = false;
    await cutPoints(world, 1);
    world.link.isUp = true;
    const [waiting] = await cutPoints(world, 1);
    await shipAll(world);
    const [after] = await cutPoints(world, 1);
    expect([waiting!.report.via, after!.report.via]).toEqual(["spool", "direct"]);
  });
});

/** Every file of the spool. */
async function filesOf(world: SpoolWorld): Promise<ReadonlyMap<string, Uint8Array>> {
  const copies = new Map<string, Uint8Array>();
  for (const name of await world.files.list(groupDirectory)) {
    await using file = await world.files.open(`${groupDirectory}/${name}`, "read");
    const bytes = new Uint8Array(await file.sizeBytes());
    await file.read(bytes, 0);
    copies.set(name, bytes);
  }
  return copies;
}

async function putFiles(world: SpoolWorld, copies: ReadonlyMap<string, Uint8Array>) {
  await world.files.removeDirectory(groupDirectory);
  await world.files.makeDirectory(groupDirectory);
  for (const [name, bytes] of copies) {
    await using file = await world.files.open(`${groupDirectory}/${name}`, "create");
    await file.write(bytes, 0);
  }
}

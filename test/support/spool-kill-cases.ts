import { expect } from "vitest";
import { isFault } from "../../src/base/fault.ts";
import { faultOf } from "../../src/engine/fault-of.ts";
import { guestActs, wrongPoints } from "./engine-world.ts";
import { cutOnce, inVirtualTime, type SpoolWorld, shipAll, spoolWorld } from "./spool-world.ts";

/** Something that changes files. */
export interface Work {
  readonly prepare: (world: SpoolWorld) => Promise<void>;
  readonly work: (world: SpoolWorld) => Promise<unknown>;
}

const cutSome = async (world: SpoolWorld, count: number) => {
  for (let round = 0; round < count; round += 1) {
    guestActs(world, 3);
    await cutOnce(world);
  }
};
const withLink = async (world: SpoolWorld, isUp: boolean) => {
  world.link.isUp = isUp;
};

/** What is interrupted at each change of a file. */
export const works: Record<string, Work> = {
  "the first cut into the spool": {
    prepare: (world) => withLink(world, false),
    work: (world) => cutSome(world, 1),
  },
  "a cut behind others": {
    prepare: async (world) => {
      world.link.isUp = false;
      await cutSome(world, 2);
    },
    work: (world) => cutSome(world, 1),
  },
  "a direct point": {
    prepare: (world) => withLink(world, true),
    work: (world) => cutSome(world, 1),
  },
  shipping: {
    prepare: async (world) => {
      world.link.isUp = false;
      await cutSome(world, 3);
      world.link.isUp = true;
    },
    work: (world) => shipAll(world, 60),
  },
  "dropping what is damaged": {
    prepare: async (world) => {
      world.link.isUp = false;
      await cutSome(world, 3);
      const names = await world.files.list("/spool/erp");
      await world.files.remove(`/spool/erp/${names[1]}`);
      world.link.isUp = true;
    },
    work: (world) => shipAll(world, 60),
  },
};

async function prepared({ prepare }: Work, seed: number): Promise<SpoolWorld> {
  const world = await spoolWorld(seed);
  guestActs(world, 8);
  await cutOnce(world);
  await shipAll(world);
  await prepare(world);
  return world;
}

/** Interrupts `what` at changes of files, evenly taken from all of them, and checks what is there afterwards. */
export async function interruptEverywhere(
  what: Work,
  mode: "killed" | "full",
  killsMax: number,
): Promise<void> {
  const counted = await prepared(what, 5);
  const before = counted.kills.changes;
  await what.work(counted);
  const changes = counted.kills.changes - before;
  expect(changes).toBeGreaterThan(3);
  const step = Math.max(1, Math.floor(changes / killsMax));
  for (let at = 1; at <= changes; at += step) {
    const world = await prepared(what, 5);
    world.kills.mode = mode;
    world.kills.killAt = world.kills.changes + at;
    await inVirtualTime(world, what.work(world)).catch((error: unknown) => {
      if (!isFault(faultOf(error))) throw error;
    });
    world.kills.killAt = null;
    if (mode === "killed") await world.restartReplicator();
    // First while the vault is away, then with it.
    world.link.isUp = false;
    await cutSome(world, 1);
    world.link.isUp = true;
    await shipAll(world);
    await cutSome(world, 1);
    await shipAll(world);
    const notes = world.points().flatMap((point) => point.notes);
    const wrong = await wrongPoints(world);
    expect({ at, notes, wrong }).toEqual({ at, notes: [], wrong: [] });
    expect(world.intake.status()).toMatchObject({ points: 0, usedBytes: 0 });
  }
}

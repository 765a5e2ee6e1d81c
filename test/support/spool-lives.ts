import type { CycleOutcome } from "../../src/engine/cycle.ts";
import { guestActs } from "./engine-world.ts";
import { cutOnce, type SpoolWorld, shipAll, spoolWorld } from "./spool-world.ts";

/** A vault with a first point, and everything shipped. */
export async function begun(seed: number): Promise<SpoolWorld> {
  const world = await spoolWorld(seed);
  guestActs(world, 10);
  await cutOnce(world);
  await shipAll(world);
  return world;
}

/** Cuts so many points, with something written before each. */
export async function cutPoints(
  world: SpoolWorld,
  count: number,
): Promise<readonly CycleOutcome[]> {
  const outcomes: CycleOutcome[] = [];
  for (let round = 0; round < count; round += 1) {
    guestActs(world, 3);
    outcomes.push(await cutOnce(world));
  }
  return outcomes;
}

/** At the vault, oldest first. */
export const sequences = (world: SpoolWorld) => world.points().map(({ sequence }) => sequence);
/** What the vault's points say of the way to them. */
export const notes = (world: SpoolWorld) => world.points().flatMap((point) => point.notes);
/** What the spool told that it lost. */
export const holes = (world: SpoolWorld) => world.events.filter((event) => event.type === "hole");

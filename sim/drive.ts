import type { VirtualClock } from "./clock.ts";
import { BrokenPromise } from "./oracle.ts";
import type { Scheduler } from "./steps.ts";

/** Turns of the event loop without any virtual work before a world counts as stuck: real threads may need a few. */
const idleTurnsMax = 100_000;
const turnsMax = 400_000;

/**
 * Runs the world until `isDone`: one call at a time, and only when all work waits does the clock move to the next sleeper.
 */
export async function drive(
  world: { scheduler: Scheduler; clock: VirtualClock; onWait: () => void },
  isDone: () => boolean,
): Promise<void> {
  let idleTurns = 0;
  for (let turns = 0; ; turns += 1) {
    // Everything that can run without the world runs before this resolves.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (isDone()) return;
    if (turns > turnsMax) throw new BrokenPromise("no end in sight: something spins");
    if (world.scheduler.runOne()) {
      idleTurns = 0;
      continue;
    }
    if (world.clock.sleepers() > 0) {
      world.onWait();
      world.clock.advance();
      idleTurns = 0;
      continue;
    }
    idleTurns += 1;
    if (idleTurns > idleTurnsMax) throw new BrokenPromise("everything waits for nothing");
  }
}

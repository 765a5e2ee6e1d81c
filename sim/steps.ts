import assert from "node:assert/strict";
import type { Prng } from "../src/base/prng.ts";

/** Where every call of a virtual port passes before it takes effect: the world may fail it, delay it or end the life here. */
export interface Steps {
  /** Resolves when the call may go on; rejects when it fails before it had any effect; stays pending when the life ended. */
  pass(label: string): Promise<void>;
}

/** No world around: every call goes on at once. */
export const freeSteps: Steps = { pass: async () => {} };

/** Runs the calls of all lives one at a time, in an order that only the seed decides. */
export interface Scheduler {
  /** The steps of one life. After `crash` none of its calls, old or new, ever settles. */
  life(name: string): Life;
  /** Calls that wait for their turn. */
  waiting(): number;
  /** Lets one waiting call go on; false when none waits. */
  runOne(): boolean;
}

export interface Life extends Steps {
  crash(): void;
  readonly isOver: () => boolean;
  /** Meanwhile calls of this life take no turn, and nothing happens to them: for what the world itself looks at. */
  freely<Value>(work: () => Promise<Value>): Promise<Value>;
  readonly isFree: () => boolean;
}

export interface SchedulerOptions {
  readonly prng: Prng;
  /** Called at a call's turn, before it goes on. Returning an error fails the call. May crash the life. */
  readonly onTurn: (label: string, life: Life) => Error | null;
}

interface Waiting {
  readonly label: string;
  readonly life: Life;
  readonly go: (failure: Error | null) => void;
}

export function makeScheduler({ prng, onTurn }: SchedulerOptions): Scheduler {
  let queue: Waiting[] = [];
  return {
    life: (name) => {
      let over = false;
      let looks = 0;
      const life: Life = {
        isOver: () => over,
        isFree: () => looks > 0,
        freely: async (work) => {
          looks += 1;
          try {
            return await work();
          } finally {
            looks -= 1;
          }
        },
        crash: () => {
          assert(!over, `life ${name} ended twice`);
          over = true;
          queue = queue.filter((waiting) => waiting.life !== life);
        },
        pass: (label) =>
          new Promise((resolve, reject) => {
            if (over) return;
            if (looks > 0) return resolve();
            const go = (failure: Error | null) => (failure ? reject(failure) : resolve());
            queue.push({ label, life, go });
          }),
      };
      return life;
    },
    waiting: () => queue.length,
    runOne: () => {
      if (queue.length === 0) return false;
      const [waiting] = queue.splice(queue.length === 1 ? 0 : prng.below(queue.length), 1);
      assert(waiting);
      const failure = onTurn(waiting.label, waiting.life);
      if (!waiting.life.isOver()) waiting.go(failure);
      return true;
    },
  };
}

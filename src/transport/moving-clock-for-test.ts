import { virtualClock } from "../../sim/clock.ts";
import type { Clock } from "../base/clock.ts";

/** A virtual clock that moves to its next sleeper whenever nothing else is left to do in the turn. */
export interface MovingClock extends Clock, Disposable {
  /** The wall clock jumps. */
  jump(byMs: number): void;
}

export function movingClock(): MovingClock {
  const clock = virtualClock();
  let isOver = false;
  const turn = () => {
    if (isOver) return;
    clock.advance();
    setImmediate(turn);
  };
  setImmediate(turn);
  return {
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    sleep: (durationMs, options) => clock.sleep(durationMs, options),
    jump: (byMs) => clock.jump(byMs),
    [Symbol.dispose]: () => {
      isOver = true;
    },
  };
}

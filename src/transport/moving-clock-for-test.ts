import type { Clock } from "../base/clock.ts";

/** A virtual clock that moves to its next sleeper whenever nothing else is left to do in the turn. */
export interface MovingClock extends Clock, Disposable {
  /** The wall clock jumps. */
  jump(byMs: number): void;
}

/** `clock` is the simulator's; it belongs to this from now on. */
export function movingClock(
  clock: Clock & { advance(): boolean; jump(byMs: number): void },
): MovingClock {
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

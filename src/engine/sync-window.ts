import type { Clock } from "../base/clock.ts";
import type { GroupEvent } from "./events.ts";
import type { Pace } from "./read-pace.ts";
import type { Opening } from "./run-options.ts";

/** A closed window is looked at again after so long: wall clocks jump. */
const lookAgainMs = 30_000;

/** Lets a sync's reads through inside its windows of time, and there at the site's pace. Tells when it waits and goes on. */
export function syncPace(options: {
  readonly clock: Clock;
  readonly pace?: Pace;
  readonly syncMayRun?: () => Opening;
  readonly onEvent: (event: GroupEvent) => void;
}): Pace {
  const { clock, pace, syncMayRun, onEvent } = options;
  let isWaiting = false;
  const untilOpen = async (signal: AbortSignal) => {
    for (;;) {
      const opening = syncMayRun?.() ?? { isOpen: true, untilMs: 0 };
      if (opening.isOpen === isWaiting) {
        isWaiting = !opening.isOpen;
        onEvent({ type: "sync-window", closedUntilMs: isWaiting ? opening.untilMs : null });
      }
      if (opening.isOpen) return;
      const leftMs = Math.max(1, opening.untilMs - clock.nowMs());
      await clock.sleep(Math.min(leftMs, lookAgainMs), { signal });
    }
  };
  return {
    admit: async (lengthBytes, signal) => {
      await untilOpen(signal);
      await pace?.admit(lengthBytes, signal);
    },
  };
}

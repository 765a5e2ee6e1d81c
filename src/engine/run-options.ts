import type { Clock } from "../base/clock.ts";
import type { Prng } from "../base/prng.ts";
import type { ClockComparison } from "../core/clock-comparison.ts";
import type { Source } from "../core/source.ts";
import type { CycleGroup } from "./cycle.ts";
import type { CycleIntake } from "./cycle-intake.ts";
import type { EngineEvent } from "./events.ts";
import type { IntervalPolicy } from "./interval.ts";
import type { PhaseHook } from "./phase.ts";
import type { Pace } from "./read-pace.ts";

/** Whether something may go on now. */
export interface Opening {
  readonly isOpen: boolean;
  /** When that changes next, on the wall clock. */
  readonly untilMs: number;
}

/** What a run takes; bounds and intervals are positive. */
export interface RunOptions {
  readonly source: Source;
  readonly journal: CycleIntake;
  readonly group: CycleGroup;
  /** From the start of one cycle to the start of the next. */
  readonly intervalSeconds: number;
  /** Decides instead of `intervalSeconds`, where given. */
  readonly interval?: IntervalPolicy;
  /** Ends after so many sealed points; null runs until the signal. */
  readonly cycles?: number | null;
  /**
   * Whether a point that would hold nothing is left out and the vault told that nothing changed. Not given: unless `cycles` asks
   * for a number of points.
   */
  readonly skipsIdleCycles?: boolean;
  /** Faults in a row that are borne; null bears any number. */
  readonly retriesMax?: number | null;
  /** Cap on reading live disks in a sync; null reads as fast as it goes. */
  readonly syncBytesPerSecondMax?: number | null;
  /** Holds every read from the source, of cycles and syncs, to its caps. */
  readonly pace?: Pace;
  /** When syncs may read; not given: always. A sync waits outside, a cycle does not. */
  readonly syncMayRun?: () => Opening;
  /** How the two sites' clocks differ now; null while they were not compared. */
  readonly clockComparison?: () => ClockComparison | null;
  /** Beyond this offset protection does not start, and alarms while it runs; null or not given: any will do. */
  readonly clockOffsetMaxMs?: number | null;
  /** What is done, besides alarming, when another holds a later generation: nothing, or the group's machines are paused. */
  readonly onStale?: "alarm" | "pause";
  /** Retention, thinning, moving the base: asked for after each seal, runs beside the cycles, one at a time. */
  readonly maintain?: (options: { signal: AbortSignal }) => Promise<unknown>;
  readonly clock: Clock;
  readonly prng: Prng;
  /** Aborting ends the run cleanly: a cycle under way is given up, nothing sealed is lost. */
  readonly signal: AbortSignal;
  readonly onEvent?: (event: EngineEvent) => void;
  /** For tests. */
  readonly onPhase?: PhaseHook;
}

/** How a run that was not ended by a fault ended. */
export interface RunSummary {
  readonly points: number;
  readonly endedBy: "cycles" | "signal";
}

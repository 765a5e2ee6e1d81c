import type { Fault } from "../base/fault.ts";
import type { JournalIntake, PointWriter } from "../core/journal.ts";
import type { Point, PointHeader } from "../core/point.ts";

/** Which way a point takes to the vault: at once, or by way of the local spool. */
export type Route = "direct" | "spool";

/** A way, and why, one sentence. */
export interface RoutePlan {
  readonly route: Route;
  readonly reason: string;
}

/** What is known of a point before it is taken. */
export interface PointOutlook {
  /** By the bitmaps' own counts; null while that is not known. */
  readonly dirtyBytes: number | null;
  /** Whether the point takes over staged parts. */
  readonly adopts: boolean;
  /** What the direct way has just failed with for this very point; null when it was not tried. */
  readonly failed: Fault | null;
}

/** A writer that tells which way it goes; one that does not goes to the vault at once. */
export interface RoutedWriter extends PointWriter {
  readonly route?: Route;
}

/** An intake that may have a spool. What is optional, a plain journal does not have. */
export interface CycleIntake extends JournalIntake {
  begin(header: PointHeader): Promise<RoutedWriter>;
  /**
   * Chooses the way of the next point before the guest pays for it. Rejects when there is none (SPOOL_FULL, GENERATION_*): then no
   * point is taken, and bitmaps gather.
   */
  plan?(outlook: PointOutlook): Promise<RoutePlan>;
  /** The sequence of the next point; the head's plus one where this is not told. */
  nextSequence?(): number;
  /** The newest point that the vault acknowledged; the head where this is not told. */
  acknowledged?(): Point | null;
}

/** The newest point that would survive the loss of this site, or null. */
export function acknowledgedPoint(intake: CycleIntake): Point | null {
  return intake.acknowledged === undefined ? intake.head() : intake.acknowledged();
}

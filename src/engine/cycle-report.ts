import type { Point } from "../core/point.ts";
import type { Route } from "./cycle-intake.ts";
import type { PhaseDurations } from "./phase.ts";
import type { TransferCounts } from "./transfer.ts";

/** What one cycle did and cost. */
export interface CycleReport extends TransferCounts {
  readonly point: Point;
  /** Sealed at the vault, or in the spool, from where it is shipped. */
  readonly via: Route;
  /** Size of the sealed delta in bytes. */
  readonly storedBytes: number;
  /** Bytes read for each changed byte; above 1 something unchanged was read. Null when nothing changed. */
  readonly readAmplification: number | null;
  /** Bytes stored for each changed byte, compression and bookkeeping included. Null when nothing changed. */
  readonly storeAmplification: number | null;
  /**
   * What a loss of this site just before this seal would have cost, in seconds: from what the vault had acknowledged (of it, from
   * the last time that nothing had changed since) to the seal. Of the first point: from its own instant. Never from the spool.
   */
  readonly rpoSeconds: number;
  /** How old the new point was when it was sealed, in spool or vault, from the lower bound of its instant. */
  readonly cutLagSeconds: number;
  /** The same where the vault sealed it; null while it waits in the spool. */
  readonly lagSeconds: number | null;
  /** From the question for the head to the end, on the monotonic clock. */
  readonly durationSeconds: number;
  readonly phasesMs: PhaseDurations;
}

/** Puts the report together; `previous` is what the vault had acknowledged before this point. */
export function reportOf(options: {
  point: Point;
  route: Route;
  previous: Point | null;
  counts: TransferCounts;
  sealedAtMs: number;
  durationMs: number;
  phasesMs: PhaseDurations;
}): CycleReport {
  const { point, route, previous, counts, sealedAtMs } = options;
  const cutLagSeconds = (sealedAtMs - point.instant.lowerMs) / 1000;
  const perDirtyByte = (bytes: number) =>
    counts.dirtyBytes === 0 ? null : bytes / counts.dirtyBytes;
  return {
    ...counts,
    point,
    via: route,
    storedBytes: point.cost.storedBytes,
    readAmplification: perDirtyByte(counts.readBytes),
    storeAmplification: perDirtyByte(point.cost.storedBytes),
    rpoSeconds: (sealedAtMs - currentAsOfMs(previous ?? point)) / 1000,
    cutLagSeconds,
    lagSeconds: route === "direct" ? cutLagSeconds : null,
    durationSeconds: options.durationMs / 1000,
    phasesMs: options.phasesMs,
  };
}

/** Until when the point shows the source as it was, in milliseconds of its taker's wall clock. */
export function currentAsOfMs(point: Point): number {
  return Math.max(point.instant.lowerMs, point.currentAtMs ?? 0);
}

import type { Point } from "../core/point.ts";
import type { PhaseDurations } from "./phase.ts";
import type { TransferCounts } from "./transfer.ts";

/** What one cycle did and cost. */
export interface CycleReport extends TransferCounts {
  readonly point: Point;
  /** Size of the sealed delta in bytes. */
  readonly storedBytes: number;
  /** Bytes read for each changed byte; above 1 something unchanged was read. Null when nothing changed. */
  readonly readAmplification: number | null;
  /** Bytes stored for each changed byte, compression and bookkeeping included. Null when nothing changed. */
  readonly storeAmplification: number | null;
  /**
   * What a loss of the source just before this seal would have cost: seconds from the lower bound of the point then newest
   * (of this one, when it is the first) to the seal.
   */
  readonly rpoSeconds: number;
  /** How old the new point was when it was sealed, from the lower bound of its instant. */
  readonly lagSeconds: number;
  /** From the question for the head to the end, on the monotonic clock. */
  readonly durationSeconds: number;
  readonly phasesMs: PhaseDurations;
}

/** Puts the report together; `previous` is the head before this point. */
export function reportOf(options: {
  point: Point;
  previous: Point | null;
  counts: TransferCounts;
  sealedAtMs: number;
  durationMs: number;
  phasesMs: PhaseDurations;
}): CycleReport {
  const { point, previous, counts, sealedAtMs } = options;
  const perDirtyByte = (bytes: number) =>
    counts.dirtyBytes === 0 ? null : bytes / counts.dirtyBytes;
  return {
    ...counts,
    point,
    storedBytes: point.cost.storedBytes,
    readAmplification: perDirtyByte(counts.readBytes),
    storeAmplification: perDirtyByte(point.cost.storedBytes),
    rpoSeconds: (sealedAtMs - (previous ?? point).instant.lowerMs) / 1000,
    lagSeconds: (sealedAtMs - point.instant.lowerMs) / 1000,
    durationSeconds: options.durationMs / 1000,
    phasesMs: options.phasesMs,
  };
}

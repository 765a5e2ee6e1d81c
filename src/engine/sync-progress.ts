import type { Clock } from "../base/clock.ts";
import type { DiskName } from "../core/ids.ts";

/** How far the reading of one whole disk is. */
export interface SyncProgress {
  readonly disk: DiskName;
  readonly kind: "base" | "parts";
  readonly sizeBytes: number;
  /** Compared so far, from the start of the disk, what an earlier life did included. */
  readonly doneBytes: number;
  /** Read from the source in this life. */
  readonly readBytes: number;
  /** Found to differ and staged in this life, zeroes included. */
  readonly stagedBytes: number;
  /** Null until there is a rate to tell it from. */
  readonly etaSeconds: number | null;
}

/** Rates are told from at least this much time. */
const etaAfterMs = 200;

/** Seconds to the end at the rate since `startedAtMs`, or null when it is too early to say. */
export function etaSeconds(options: {
  clock: Clock;
  startedAtMs: number;
  startedAtBytes: number;
  doneBytes: number;
  sizeBytes: number;
}): number | null {
  const { clock, startedAtMs, startedAtBytes, doneBytes, sizeBytes } = options;
  const elapsedMs = clock.monotonicMs() - startedAtMs;
  const movedBytes = doneBytes - startedAtBytes;
  if (doneBytes >= sizeBytes) return 0;
  if (elapsedMs < etaAfterMs || movedBytes <= 0) return null;
  return ((sizeBytes - doneBytes) / movedBytes) * (elapsedMs / 1000);
}

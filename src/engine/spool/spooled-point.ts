import { Fault, isFault } from "../../base/fault.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import type { SpooledPoint } from "./spool-state.ts";

/** A spooled point as the engine knows points; it was sealed here when it was taken, as far as anybody asks. */
export function spooledAsPoint(header: PointHeader, spooled: SpooledPoint): Point {
  const { contentRoot, dirtyBytes, readBytes, sizeBytes, clock } = spooled;
  return {
    ...header,
    contentRoot,
    clock,
    sealedAtMs: header.instant.upperMs,
    cost: { dirtyBytes, readBytes, dataBytes: 0, zeroBytes: 0, storedBytes: sizeBytes },
    verifiedAtMs: null,
    drilledAtMs: null,
    currentAtMs: null,
  };
}

/** Runs what reads a point's file: whatever keeps it from reading back as it was sealed is SPOOL_CORRUPT. */
export async function asSpoolCorrupt<Value>(
  { id, sequence }: SpooledPoint,
  work: () => Promise<Value>,
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!isFault(error)) throw error;
    const message = `Point #${sequence} (${id}) of the spool: ${error.message}`;
    throw new Fault("SPOOL_CORRUPT", message, { point: id, sequence }, { cause: error });
  }
}

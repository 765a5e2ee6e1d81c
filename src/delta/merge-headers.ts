import assert from "node:assert/strict";
import type { PointHeader } from "../core/point.ts";
import { notesMax } from "../format/delta-limits.ts";

/**
 * The header of the delta that `headers`, oldest first, make together: the newest point, from where the oldest starts.
 * Headers that do not follow each other are a bug of the caller.
 */
export function mergeHeaders(headers: readonly PointHeader[]): PointHeader {
  const oldest = headers[0];
  const newest = headers.at(-1);
  assert(oldest !== undefined && newest !== undefined, "nothing to merge");
  for (const [place, header] of headers.slice(1).entries()) {
    assert(header.fromPoint === headers[place]!.id, "merged deltas follow each other");
  }
  return {
    ...newest,
    fromPoint: oldest.fromPoint,
    fromSequence: oldest.fromSequence,
    disks: newest.disks.map((disk) => {
      const first = headers
        .flatMap((header) => header.disks)
        .find((at) => at.identity === disk.identity);
      return { ...disk, previousSizeBytes: first?.previousSizeBytes ?? null };
    }),
    notes: headers.flatMap((header) => header.notes).slice(-notesMax),
  };
}

import type { Extent, Run } from "../core/extent.ts";
import type { StagedDisk } from "../core/journal.ts";
import { blockSizeBytes, hashLengthBytes } from "../core/limits.ts";
import { blocksIn, hashAt, hashOf, zeroHashOf } from "./block-hashes.ts";
import { appendRun } from "./block-runs.ts";

/**
 * The blocks of `run` whose content differs from what is staged, joined to runs; `zero` where they now read as zeroes.
 * `data` is the run's content, null when it reads as zeroes throughout.
 */
export async function differingRuns(
  staged: StagedDisk,
  run: Run,
  data: Uint8Array | null,
): Promise<readonly Extent[]> {
  const blocks = blocksIn(run.lengthBytes);
  const held = Buffer.allocUnsafe(blocks * hashLengthBytes);
  await staged.hashes(run.offsetBytes, held);
  if (data === null && held.equals(zeroHashesOf(run))) return [];
  const differing: Extent[] = [];
  for (let index = 0; index < blocks; index += 1) {
    const start = index * blockSizeBytes;
    const lengthBytes = Math.min(blockSizeBytes, run.lengthBytes - start);
    const zeroHash = zeroHashOf(lengthBytes);
    const live = data === null ? zeroHash : hashOf(data.subarray(start, start + lengthBytes));
    if (live.equals(hashAt(held, index))) continue;
    const state = live.equals(zeroHash) ? "zero" : "data";
    appendRun(differing, { offsetBytes: run.offsetBytes + start, lengthBytes, state });
  }
  return differing;
}

let zeroHashesCache = Buffer.alloc(0);

/** The hashes that a run of zeroes has. */
function zeroHashesOf(run: Run): Buffer {
  const blocks = blocksIn(run.lengthBytes);
  if (zeroHashesCache.length < blocks * hashLengthBytes) {
    zeroHashesCache = Buffer.alloc(blocks * hashLengthBytes, zeroHashOf(blockSizeBytes));
  }
  const hashes = zeroHashesCache.subarray(0, blocks * hashLengthBytes);
  const lastBytes = run.lengthBytes - (blocks - 1) * blockSizeBytes;
  if (lastBytes === blockSizeBytes) return hashes;
  const copy = Buffer.from(hashes);
  copy.set(zeroHashOf(lastBytes), (blocks - 1) * hashLengthBytes);
  return copy;
}

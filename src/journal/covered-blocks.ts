import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import { fromBase, fromZeroes, type RunIndex } from "./run-index.ts";

/** A run of whole blocks (the disk's last may be short) that deltas replace. */
export interface CoveredRun {
  readonly offsetBytes: number;
  readonly endBytes: number;
  readonly isZero: boolean;
  /** Whether deltas hold all of it; otherwise the base holds the rest. */
  readonly isWhole: boolean;
}

interface BlockState {
  /** Some byte of it lies in a delta. */
  isTouched: boolean;
  isZero: boolean;
  /** Some byte of it within the disk lies in no delta. */
  hasHole: boolean;
}

/**
 * What the deltas of an index replace on a disk of `sizeBytes`, by the block: runs of one kind in order, data at most a window
 * long and within one. A block that deltas cover in part counts as replaced and not whole, and so does a last block whose tail
 * beyond the disk's new end was sealed as zeroes while the rest of it is the base's.
 */
export function* coveredRuns(
  index: RunIndex,
  sizeBytes: number,
): Generator<CoveredRun, void, undefined> {
  let pending: CoveredRun | null = null;
  for (const run of runsByBlock(index, sizeBytes)) {
    if (pending !== null && joins(pending, run)) {
      pending = { ...run, offsetBytes: pending.offsetBytes };
      continue;
    }
    if (pending !== null) yield pending;
    pending = run;
  }
  if (pending !== null) yield pending;
}

function joins(before: CoveredRun, next: CoveredRun): boolean {
  const isOneKind = before.isZero === next.isZero && before.isWhole === next.isWhole;
  if (before.endBytes !== next.offsetBytes || !isOneKind) return false;
  return before.isZero || next.offsetBytes % windowSizeBytes !== 0;
}

function* runsByBlock(index: RunIndex, sizeBytes: number): Generator<CoveredRun, void, undefined> {
  const reachBytes = Math.ceil(sizeBytes / blockSizeBytes) * blockSizeBytes;
  let blockAt = 0;
  let state: BlockState | null = null;
  const finish = function* (): Generator<CoveredRun, void, undefined> {
    if (state?.isTouched) {
      const endBytes = Math.min(blockAt + blockSizeBytes, sizeBytes);
      const { isZero, hasHole } = state;
      yield { offsetBytes: blockAt, endBytes, isZero: isZero && !hasHole, isWhole: !hasHole };
    }
    state = null;
  };
  for (const segment of index.segments(0, reachBytes)) {
    for (let at = segment.offsetBytes; at < segment.endBytes; ) {
      const block = Math.floor(at / blockSizeBytes) * blockSizeBytes;
      if (block !== blockAt || state === null) {
        yield* finish();
        blockAt = block;
        state = { isTouched: false, isZero: true, hasHole: false };
      }
      // Whole blocks in the middle of a long run need not be looked at one by one.
      const lastWhole = Math.floor(segment.endBytes / blockSizeBytes) * blockSizeBytes;
      if (at === block && lastWhole > block && segment.entry < 0) {
        state = null;
        if (segment.entry === fromZeroes) {
          const endBytes = Math.min(lastWhole, sizeBytes);
          yield { offsetBytes: block, endBytes, isZero: true, isWhole: true };
        }
        at = lastWhole;
        continue;
      }
      const end = Math.min(block + blockSizeBytes, segment.endBytes);
      if (segment.entry !== fromBase) state.isTouched = true;
      else if (at < sizeBytes) state.hasHole = true;
      if (segment.entry !== fromZeroes && at < sizeBytes) state.isZero = false;
      at = end;
    }
  }
  yield* finish();
}

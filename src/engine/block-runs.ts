import assert from "node:assert/strict";
import type { Extent, Run } from "../core/extent.ts";
import { blockSizeBytes } from "../core/limits.ts";

const zeroBlock = Buffer.alloc(blockSizeBytes);

/** Whether `bytes`, at most a block, are all zero. */
export function isZeroBlock(bytes: Uint8Array): boolean {
  assert(bytes.length <= blockSizeBytes, "a block at a time");
  return zeroBlock.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

/** The runs of blocks of `data`, which lies at `offsetBytes` (a multiple of a block), that are zero and that are not. */
export function zeroAndDataRuns(offsetBytes: number, data: Uint8Array): readonly Extent[] {
  const runs: Extent[] = [];
  for (let start = 0; start < data.length; start += blockSizeBytes) {
    const block = data.subarray(start, start + blockSizeBytes);
    const state = isZeroBlock(block) ? "zero" : "data";
    appendRun(runs, { offsetBytes: offsetBytes + start, lengthBytes: block.length, state });
  }
  return runs;
}

/** Adds `next` at the end of `runs`, joined to the last when it continues it. */
export function appendRun(runs: Extent[], next: Extent): void {
  const last = runs.at(-1);
  if (last !== undefined && last.state === next.state && endOf(last) === next.offsetBytes) {
    runs[runs.length - 1] = { ...last, lengthBytes: last.lengthBytes + next.lengthBytes };
  } else {
    runs.push(next);
  }
}

/** The byte after the run's last. */
export function endOf(run: Run): number {
  return run.offsetBytes + run.lengthBytes;
}

/**
 * Cuts extents into what one request may read: neighbours of one state are joined, data is cut at every multiple of
 * `windowBytes`, zeroes only at multiples of `zeroRunBytesMax`. Never adds a byte that was not in an extent.
 */
export async function* requestRuns(
  extents: AsyncIterable<Extent>,
  options: { windowBytes: number; zeroRunBytesMax: number },
): AsyncGenerator<Extent, void, undefined> {
  const pending: Extent[] = [];
  for await (const extent of extents) {
    for (const part of cut(extent, options)) {
      const beginsAnew = part.offsetBytes % boundOf(part, options) === 0;
      if (beginsAnew) yield* pending.splice(0);
      appendRun(pending, part);
      if (pending.length > 1) yield pending.shift()!;
    }
  }
  yield* pending;
}

function* cut(
  extent: Extent,
  options: { windowBytes: number; zeroRunBytesMax: number },
): Generator<Extent, void, undefined> {
  const limitBytes = boundOf(extent, options);
  const endBytes = endOf(extent);
  for (let at = extent.offsetBytes; at < endBytes; ) {
    const next = Math.min(endBytes, (Math.floor(at / limitBytes) + 1) * limitBytes);
    yield { offsetBytes: at, lengthBytes: next - at, state: extent.state };
    at = next;
  }
}

function boundOf(extent: Extent, options: { windowBytes: number; zeroRunBytesMax: number }) {
  return extent.state === "data" ? options.windowBytes : options.zeroRunBytesMax;
}

/**
 * The same bytes in whole blocks: a block that is data anywhere is data. The extents follow each other without gaps from a
 * multiple of a block; `sizeBytes` is the disk's, only its last block may be short.
 */
export async function* inWholeBlocks(
  extents: AsyncIterable<Extent>,
  sizeBytes: number,
): AsyncGenerator<Extent, void, undefined> {
  let doneBytes: number | null = null; // Everything below was yielded; a multiple of a block.
  let seenBytes = 0;
  let open: Extent["state"] = "zero"; // Of [doneBytes, seenBytes), less than a block.
  for await (const extent of extents) {
    doneBytes ??= seenBytes = extent.offsetBytes;
    assert(extent.offsetBytes === seenBytes, "extents follow each other");
    seenBytes = endOf(extent);
    if (extent.offsetBytes > doneBytes) {
      if (extent.state === "data") open = "data";
      const blockEndBytes = Math.min(sizeBytes, doneBytes + blockSizeBytes);
      if (seenBytes < blockEndBytes) continue;
      yield { offsetBytes: doneBytes, lengthBytes: blockEndBytes - doneBytes, state: open };
      doneBytes = blockEndBytes;
    }
    const wholeEndBytes = seenBytes === sizeBytes ? sizeBytes : roundDownToBlock(seenBytes);
    if (wholeEndBytes > doneBytes) {
      yield { offsetBytes: doneBytes, lengthBytes: wholeEndBytes - doneBytes, state: extent.state };
      doneBytes = wholeEndBytes;
    }
    open = extent.state;
  }
  if (doneBytes !== null && doneBytes < seenBytes) {
    yield { offsetBytes: doneBytes, lengthBytes: seenBytes - doneBytes, state: open };
  }
}

function roundDownToBlock(bytes: number): number {
  return Math.floor(bytes / blockSizeBytes) * blockSizeBytes;
}

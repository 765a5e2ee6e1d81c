import type { Extent, Run } from "../../core/extent.ts";
import { blockSizeBytes } from "../../core/limits.ts";

/** Dirty runs that lie closer than this are asked about together: one question costs as much as describing 16 MiB. */
const gapBytesMax = 256 * blockSizeBytes;
/** Longest span of one question about allocation. */
const spanBytesMax = 16_384 * blockSizeBytes;
/** Most runs of one span, so that memory stays bounded. */
const spanRunsMax = 4096;

/** The start of the block that `offsetBytes` lies in. */
export function blockStart(offsetBytes: number): number {
  return offsetBytes - (offsetBytes % blockSizeBytes);
}

/** The end of the block that ends at or after `offsetBytes`, within the disk. */
function blockEnd(offsetBytes: number, diskSizeBytes: number): number {
  return Math.min(blockStart(offsetBytes + blockSizeBytes - 1), diskSizeBytes);
}

/** Runs widened to whole blocks, neighbours joined. The input is in order; the disk's last block may be short. */
export async function* wholeBlocks(
  runs: AsyncIterable<Run> | Iterable<Run>,
  diskSizeBytes: number,
): AsyncGenerator<Run, void, undefined> {
  let startBytes = 0;
  let endBytes = 0;
  for await (const run of runs) {
    const runStart = blockStart(run.offsetBytes);
    const runEnd = blockEnd(run.offsetBytes + run.lengthBytes, diskSizeBytes);
    if (runStart > endBytes && endBytes > startBytes) {
      yield { offsetBytes: startBytes, lengthBytes: endBytes - startBytes };
    }
    if (runStart > endBytes || endBytes === startBytes) startBytes = runStart;
    endBytes = Math.max(endBytes, runEnd);
  }
  if (endBytes > startBytes) yield { offsetBytes: startBytes, lengthBytes: endBytes - startBytes };
}

/** A stretch of the disk and the dirty runs in it, which begin and end it. */
export interface Span extends Run {
  readonly runs: readonly Run[];
}

/** Runs gathered into spans that are asked about at once; runs longer than a span are cut, at a block. */
export async function* spansOf(runs: AsyncIterable<Run>): AsyncGenerator<Span, void, undefined> {
  let held: Run[] = [];
  const span = (): Span => {
    const offsetBytes = held[0]!.offsetBytes;
    const last = held.at(-1)!;
    return { offsetBytes, lengthBytes: endOf(last) - offsetBytes, runs: held };
  };
  for await (const whole of runs) {
    for (const run of cut(whole)) {
      const last = held.at(-1);
      const isFar =
        last !== undefined &&
        (run.offsetBytes - endOf(last) > gapBytesMax ||
          endOf(run) - held[0]!.offsetBytes > spanBytesMax ||
          held.length >= spanRunsMax);
      if (isFar) {
        yield span();
        held = [];
      }
      held.push(run);
    }
  }
  if (held.length > 0) yield span();
}

function* cut(run: Run): Generator<Run> {
  for (let at = run.offsetBytes; at < endOf(run); at += spanBytesMax) {
    yield { offsetBytes: at, lengthBytes: Math.min(spanBytesMax, endOf(run) - at) };
  }
}

/**
 * The span's runs as extents of whole blocks: a block is zero only when all of it is. `allocation` describes the span in order;
 * where it is silent a block is taken for data.
 */
export function classify(span: Span, allocation: readonly Extent[]): readonly Extent[] {
  const extents: Extent[] = [];
  let index = 0;
  for (const run of span.runs) {
    const runEnd = endOf(run);
    let atBytes = run.offsetBytes;
    while (index < allocation.length && endOf(allocation[index]!) <= atBytes) index += 1;
    for (let look = index; atBytes < runEnd; look += 1) {
      const zero = allocation[look];
      if (zero === undefined || zero.offsetBytes >= runEnd) {
        push(extents, { offsetBytes: atBytes, lengthBytes: runEnd - atBytes, state: "data" });
        break;
      }
      if (zero.state === "data") continue;
      // Only whole blocks inside the zero run are zero; the run's own edges are blocks already.
      const startBytes = Math.max(atBytes, blockEnd(zero.offsetBytes, runEnd));
      const zeroEnd = endOf(zero);
      const endBytes = zeroEnd >= runEnd ? runEnd : blockStart(zeroEnd);
      if (endBytes <= startBytes) continue;
      if (startBytes > atBytes) {
        push(extents, { offsetBytes: atBytes, lengthBytes: startBytes - atBytes, state: "data" });
      }
      push(extents, { offsetBytes: startBytes, lengthBytes: endBytes - startBytes, state: "zero" });
      atBytes = endBytes;
    }
  }
  return extents;
}

/** The same extents with equal neighbours joined. */
export async function* joinEqual(
  extents: AsyncIterable<Extent>,
): AsyncGenerator<Extent, void, undefined> {
  const held: Extent[] = [];
  for await (const extent of extents) {
    push(held, extent);
    if (held.length > 1) yield held.shift()!;
  }
  yield* held;
}

/** Appends, joining it with an equal neighbour. */
function push(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  if (last?.state === extent.state && endOf(last) === extent.offsetBytes) {
    extents[extents.length - 1] = {
      ...last,
      lengthBytes: last.lengthBytes + extent.lengthBytes,
    };
  } else extents.push(extent);
}

/** Where a run ends. */
export function endOf(run: Run): number {
  return run.offsetBytes + run.lengthBytes;
}

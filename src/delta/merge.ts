import assert from "node:assert/strict";
import type { FileSystem } from "../base/file-system.ts";
import { mapOrdered } from "../base/map-ordered.ts";
import type { PointDisk, PointHeader } from "../core/point.ts";
import { pieceStartOf } from "../format/delta-index.ts";
import { pieceSpanBytes } from "../format/delta-limits.ts";
import { type OverlayLayer, overlay } from "./overlay.ts";
import type { DeltaReader } from "./reader.ts";
import { type CodecChoice, createDelta, type DeltaWriter, type FinishedDelta } from "./writer.ts";

/** Runs being read or written at once: each holds a chunk or two. */
const runsInFlightMax = 4;

/** What is merged, and into what. */
export interface MergeDeltasOptions {
  readonly files: FileSystem;
  /** Of the merged delta; must not exist, and is removed again unless the merge resolves. */
  readonly path: string;
  /** Usually `mergeHeaders` of the readers' headers. */
  readonly header: PointHeader;
  readonly codec: CodecChoice;
  /** Oldest first, each following the one before. Stay open, and the caller's. */
  readonly readers: readonly DeltaReader[];
  readonly signal: AbortSignal;
}

/** What a run of the merged delta is made of. */
interface MergedRun {
  readonly reader: DeltaReader;
  readonly entry: number;
  /** Place of the disk in the merged header. */
  readonly disk: number;
  readonly offsetBytes: number;
  readonly endBytes: number;
  readonly isZero: boolean;
}

/**
 * Writes one delta that does what `readers` do one after the other: newest wins, byte for byte. Whole extents are copied as they are
 * stored, cut ones are hashed anew. Disks that the header lacks are dropped, as is what lies beyond both sizes of a disk; between
 * a smaller new size and the old one only zeroes stay. Memory is bounded by a few chunks and the indexes. Content is durable when
 * it resolves; the caller renames. DELTA_CORRUPT when a source is damaged, STORAGE_*, or the signal's reason.
 */
export async function mergeDeltas(options: MergeDeltasOptions): Promise<FinishedDelta> {
  await using writer = await createDelta(options);
  const cut = cutter();
  const runs = mergedRuns(options.header, options.readers);
  const written = mapOrdered(runs, runsInFlightMax, async (run) => {
    options.signal.throwIfAborted();
    await writeRun(writer, run, cut);
  });
  for await (const _ of written) {
    // The work is done in `writeRun`.
  }
  return await writer.finish();
}

function* mergedRuns(
  header: PointHeader,
  readers: readonly DeltaReader[],
): Generator<MergedRun, void, undefined> {
  for (const [disk, pointDisk] of header.disks.entries()) {
    const having = readers.filter((reader) => placeOf(reader, pointDisk) >= 0);
    const layers = having.map(
      (reader): OverlayLayer => ({ index: reader.index, disk: placeOf(reader, pointDisk) }),
    );
    const { sizeBytes, previousSizeBytes } = pointDisk;
    const reachBytes = Math.max(sizeBytes, previousSizeBytes ?? 0);
    for (const { layer, entry, offsetBytes, endBytes } of overlay(layers)) {
      const reader = having[layer]!;
      const isZero = reader.index.isZero(entry);
      const run = { reader, entry, disk };
      if (offsetBytes < sizeBytes) {
        yield { ...run, offsetBytes, endBytes: Math.min(endBytes, sizeBytes), isZero };
      }
      const tailStart = Math.max(offsetBytes, sizeBytes);
      const tailEnd = Math.min(endBytes, reachBytes);
      if (tailStart < tailEnd) {
        yield { ...run, offsetBytes: tailStart, endBytes: tailEnd, isZero: true };
      }
    }
  }
}

function placeOf(reader: DeltaReader, disk: PointDisk): number {
  return reader.header.disks.findIndex((at) => at.identity === disk.identity);
}

async function writeRun(writer: DeltaWriter, run: MergedRun, cut: Cutter): Promise<void> {
  const { reader, entry, disk, offsetBytes, endBytes } = run;
  const { index } = reader;
  if (run.isZero) {
    await writer.zero(disk, offsetBytes, endBytes - offsetBytes);
  } else if (offsetBytes === index.offsetBytes(entry) && endBytes === index.endBytes(entry)) {
    await writer.copyChunk(reader, entry, disk);
  } else {
    await writer.write(disk, offsetBytes, await cut(run));
  }
}

type Cutter = (run: MergedRun) => Promise<Uint8Array>;

/**
 * Reads parts of chunks. Of a raw chunk only the pieces needed; a compressed one is kept until another is asked for, because its
 * parts come one after the other.
 */
function cutter(): Cutter {
  let kept: { reader: DeltaReader; entry: number; data: Promise<Uint8Array> } | null = null;
  return async ({ reader, entry, offsetBytes, endBytes }) => {
    const { index } = reader;
    const chunkStart = index.offsetBytes(entry);
    assert(chunkStart <= offsetBytes && endBytes <= index.endBytes(entry));
    if (index.codec(entry) === "raw") {
      const firstPiece = pieceOf(chunkStart, offsetBytes);
      const pieceCount = pieceOf(chunkStart, endBytes - 1) - firstPiece + 1;
      const startOf = (piece: number): number =>
        pieceStartOf(chunkStart, index.lengthBytes(entry), piece);
      const piecesStart = startOf(firstPiece);
      const pieces = new Uint8Array(startOf(firstPiece + pieceCount) - piecesStart);
      await reader.readPieces(entry, firstPiece, pieceCount, pieces);
      const from = offsetBytes - chunkStart - piecesStart;
      return pieces.subarray(from, from + endBytes - offsetBytes);
    }
    if (kept?.reader !== reader || kept.entry !== entry) {
      const data = reader.readStored(entry).then((stored) => stored.data);
      kept = { reader, entry, data };
    }
    return (await kept.data).subarray(offsetBytes - chunkStart, endBytes - chunkStart);
  };
}

/** Number of the piece that holds the disk's byte `at`, in a chunk that begins at `chunkStart`. */
function pieceOf(chunkStart: number, at: number): number {
  return Math.floor(at / pieceSpanBytes) - Math.floor(chunkStart / pieceSpanBytes);
}

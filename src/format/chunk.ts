import assert from "node:assert/strict";
import { sameBytes, sha256 } from "./bytes.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import { pieceStartOf } from "./delta-index.ts";
import { hashLengthBytes } from "./delta-limits.ts";

/** DELTA_CORRUPT unless `list` is the piece list that the index speaks of. */
export function checkPieceList(list: Uint8Array, pieceListHash: Uint8Array): void {
  if (sameBytes(sha256(list), pieceListHash)) return;
  throw deltaCorrupt("chunk", "the piece list does not have the hash in the index");
}

/** A run of neighbouring pieces of one chunk. */
export interface PieceRun {
  /** Of the whole chunk on its disk. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly firstPiece: number;
  readonly pieceCount: number;
}

/** DELTA_CORRUPT unless each piece of `data`, the run's bytes, has its hash in the chunk's piece list. */
export function checkPieces(run: PieceRun, data: Uint8Array, list: Uint8Array): void {
  const { offsetBytes, lengthBytes, firstPiece, pieceCount } = run;
  const runStart = pieceStartOf(offsetBytes, lengthBytes, firstPiece);
  for (let piece = firstPiece; piece < firstPiece + pieceCount; piece += 1) {
    const start = pieceStartOf(offsetBytes, lengthBytes, piece) - runStart;
    const end = pieceStartOf(offsetBytes, lengthBytes, piece + 1) - runStart;
    assert(end <= data.length, "a run of pieces brings all their bytes");
    const expected = list.subarray(piece * hashLengthBytes, (piece + 1) * hashLengthBytes);
    if (sameBytes(sha256(data.subarray(start, end)), expected)) continue;
    throw deltaCorrupt("chunk", `piece ${piece} does not have its hash`, { piece });
  }
}

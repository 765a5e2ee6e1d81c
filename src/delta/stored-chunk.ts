import type { StoredChunk } from "../core/journal.ts";
import { sameBytes } from "../format/bytes.ts";
import { checkPieces } from "../format/chunk.ts";
import { decodeZstdPayload } from "../format/codec.ts";
import { deltaCorrupt } from "../format/delta-corrupt.ts";
import { pieceCountOf } from "../format/delta-index.ts";
import { chunkSpanBytes, hashLengthBytes, sectorSizeBytes } from "../format/delta-limits.ts";
import type { PieceHasher } from "./piece-hasher.ts";

/**
 * DELTA_CORRUPT unless the chunk is whole sectors inside one 1 MiB window below `reachBytes`, and its list and payload have the
 * lengths that follow from that. Says nothing about their content.
 */
export function checkStoredShape(chunk: StoredChunk, reachBytes: number): void {
  const { offsetBytes, lengthBytes, codec, list, payload } = chunk;
  const isPlaced =
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes > 0 &&
    offsetBytes % sectorSizeBytes === 0 &&
    lengthBytes % sectorSizeBytes === 0 &&
    (offsetBytes % chunkSpanBytes) + lengthBytes <= chunkSpanBytes &&
    offsetBytes + lengthBytes <= reachBytes;
  if (!isPlaced) throw deltaCorrupt("chunk", "it does not lie in one window of its disk");
  if (list.length !== pieceCountOf(offsetBytes, lengthBytes) * hashLengthBytes) {
    throw deltaCorrupt("chunk", "its piece list has the wrong length");
  }
  const fits = codec === "raw" ? payload.length === lengthBytes : payload.length < lengthBytes;
  if (!fits) throw deltaCorrupt("chunk", "its payload has the wrong length");
}

/** The data of a chunk whose shape was checked, every piece compared with its hash; a raw chunk's own payload. DELTA_CORRUPT. */
export async function verifiedDataOf(
  chunk: StoredChunk,
  { hasher, usesThreads }: { readonly hasher: PieceHasher; readonly usesThreads: boolean },
): Promise<Uint8Array> {
  const { offsetBytes, lengthBytes, codec, list, payload } = chunk;
  const expanding = { lengthBytes, usesThreads };
  const data = codec === "raw" ? payload : await decodeZstdPayload(payload, expanding);
  if (sameBytes(await hasher.list(offsetBytes, data), list)) return data;
  const pieceCount = list.length / hashLengthBytes;
  checkPieces({ offsetBytes, lengthBytes, firstPiece: 0, pieceCount }, data, list);
  throw deltaCorrupt("chunk", "the data changed while it was being checked");
}

import { bytesOfHex, hexOf, readUint64, viewOf, writeUint64 } from "./bytes.ts";
import { type Codec, codecNumber, codecOf } from "./codec.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import { pieceCountOf } from "./delta-index.ts";
import {
  chunkSpanBytes,
  diskSizeBytesMax,
  hashLengthBytes,
  sectorSizeBytes,
} from "./delta-limits.ts";
import { chunkHeaderLengthBytes } from "./wire-limits.ts";

/** A chunk on the wire: where it lies, how it is stored, the hashes of its pieces, its payload. */
export interface WireChunk {
  /** 16 hex digits. */
  readonly disk: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly codec: Codec;
  readonly list: Uint8Array;
  readonly payload: Uint8Array;
}

/** What stands before list and payload in a chunk's body. */
export function encodeChunkHeader(chunk: Omit<WireChunk, "list" | "payload">): Buffer {
  const bytes = Buffer.alloc(chunkHeaderLengthBytes);
  const view = viewOf(bytes);
  bytes.set(bytesOfHex(chunk.disk, 8), 0);
  writeUint64(view, 8, chunk.offsetBytes);
  view.setUint32(16, chunk.lengthBytes, true);
  view.setUint8(20, codecNumber(chunk.codec));
  view.setUint16(22, pieceCountOf(chunk.offsetBytes, chunk.lengthBytes), true);
  return bytes;
}

/** Reads a chunk's body; list and payload are views of it. DELTA_CORRUPT when it is none. */
export function decodeChunk(body: Uint8Array): WireChunk {
  if (body.length < chunkHeaderLengthBytes) throw deltaCorrupt("chunk", "it is too short for one");
  const view = viewOf(body);
  const offsetBytes = readUint64(view, 8);
  const lengthBytes = view.getUint32(16, true);
  const codec = codecOf(view.getUint8(20));
  const pieceCount = view.getUint16(22, true);
  const isRun =
    lengthBytes > 0 &&
    offsetBytes % sectorSizeBytes === 0 &&
    lengthBytes % sectorSizeBytes === 0 &&
    offsetBytes + lengthBytes <= diskSizeBytesMax &&
    windowOf(offsetBytes) === windowOf(offsetBytes + lengthBytes - 1);
  if (!isRun) throw deltaCorrupt("chunk", "it lies where none can", { offsetBytes, lengthBytes });
  if (codec === null) throw deltaCorrupt("chunk", "its codec is unknown");
  if (pieceCount !== pieceCountOf(offsetBytes, lengthBytes)) {
    throw deltaCorrupt("chunk", "it has another count of pieces", { pieceCount });
  }
  const payloadAt = chunkHeaderLengthBytes + pieceCount * hashLengthBytes;
  const payloadBytes = body.length - payloadAt;
  const fits = codec === "raw" ? payloadBytes === lengthBytes : payloadBytes < lengthBytes;
  if (!fits || payloadBytes <= 0) throw deltaCorrupt("chunk", "its payload has another length");
  return {
    disk: hexOf(body.subarray(0, 8)),
    offsetBytes,
    lengthBytes,
    codec,
    list: body.subarray(chunkHeaderLengthBytes, payloadAt),
    payload: body.subarray(payloadAt),
  };
}

function windowOf(offsetBytes: number): number {
  return Math.floor(offsetBytes / chunkSpanBytes);
}

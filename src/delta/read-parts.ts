import type { StoredFile } from "../base/file-system.ts";
import { KIB } from "../base/units.ts";
import { sameBytes, sha256 } from "../format/bytes.ts";
import { deltaCorrupt } from "../format/delta-corrupt.ts";
import { DeltaIndex } from "../format/delta-index.ts";
import { prologueLengthBytes, trailerLengthBytes } from "../format/delta-limits.ts";
import { type DeltaPrologue, decodePrologue } from "../format/delta-prologue.ts";
import {
  contentRootOf,
  type DeltaTrailer,
  decodeTrailer,
  indexLengthBytes,
} from "../format/delta-trailer.ts";

/** One read of this size catches the trailer and the index of up to a thousand extents. */
const tailLengthBytes = 64 * KIB;

/** The prologue and the header's bytes, not yet checked against each other. DELTA_CORRUPT, DELTA_VERSION. */
export async function readFront(file: StoredFile) {
  const prologueBytes = Buffer.alloc(prologueLengthBytes);
  const readBytes = await file.read(prologueBytes, 0);
  const prologue = decodePrologue(prologueBytes.subarray(0, readBytes));
  const headerBytes = Buffer.alloc(prologue.headerLengthBytes);
  const headerReadBytes = await file.read(headerBytes, prologueLengthBytes);
  if (headerReadBytes < headerBytes.length) throw deltaCorrupt("header", "the file ends within it");
  return { prologue, headerBytes };
}

/** Trailer and index, checked against each other: what the trailer's root and hashes say is what the index holds. */
export async function readBack(file: StoredFile, sizeBytes: number) {
  const tail = Buffer.alloc(Math.min(tailLengthBytes, sizeBytes));
  const readBytes = await file.read(tail, sizeBytes - tail.length);
  if (readBytes < tail.length) throw deltaCorrupt("trailer", "the file ends within it");
  const trailer = decodeTrailer(tail, sizeBytes);
  const lengthBytes = indexLengthBytes(trailer.entryCount);
  const tailStart = tail.length - trailerLengthBytes - lengthBytes;
  const indexBytes: Buffer = Buffer.alloc(lengthBytes);
  if (tailStart >= 0) tail.copy(indexBytes, 0, tailStart, tailStart + lengthBytes);
  else if ((await file.read(indexBytes, trailer.indexPositionBytes)) < lengthBytes) {
    throw deltaCorrupt("index", "the file ends within it");
  }
  const index = DeltaIndex.over(indexBytes);
  if (!sameBytes(contentRootOf(trailer.headerHash, index.logicalTable), trailer.contentRoot)) {
    throw deltaCorrupt("index", "it does not have the content root in the trailer");
  }
  if (!sameBytes(sha256(index.placementTable), trailer.placementHash)) {
    throw deltaCorrupt("index", "its placement table does not have the hash in the trailer");
  }
  return { trailer, index };
}

/** DELTA_CORRUPT unless prologue, header and trailer belong together. */
export function checkAgreement(
  prologue: DeltaPrologue,
  headerBytes: Buffer,
  trailer: DeltaTrailer,
): void {
  if (!sameBytes(sha256(headerBytes), prologue.headerHash)) {
    throw deltaCorrupt("header", "it does not have the hash in the prologue");
  }
  const agrees =
    sameBytes(prologue.headerHash, trailer.headerHash) &&
    prologue.headerLengthBytes === trailer.headerLengthBytes;
  if (!agrees) throw deltaCorrupt("trailer", "it belongs to another header");
}

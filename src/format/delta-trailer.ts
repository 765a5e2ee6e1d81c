import { crc32 } from "node:zlib";
import { copyOf, isZeroes, readUint64, sameBytes, sha256, viewOf, writeUint64 } from "./bytes.ts";
import { deltaCorrupt, deltaTooNew } from "./delta-corrupt.ts";
import {
  deltaVersion,
  headerLengthBytesMax,
  indexEntriesMax,
  logicalEntryLengthBytes,
  placementEntryLengthBytes,
  prologueLengthBytes,
  trailerLengthBytes,
} from "./delta-limits.ts";

/** The last bytes of every delta file, of any version. */
const trailerMagic = Buffer.from("AFTDEND\n", "latin1");
/** Separates content roots from every other hash of the product. */
const contentRootDomain = Buffer.from("afterimage delta content v1\n", "latin1");

/** What the last bytes of a delta file say. */
export interface DeltaTrailer {
  readonly contentRoot: Uint8Array;
  readonly headerHash: Uint8Array;
  /** SHA-256 of the index's placement table. */
  readonly placementHash: Uint8Array;
  /** Where the index begins, which is where the chunks end. */
  readonly indexPositionBytes: number;
  readonly fileSizeBytes: number;
  readonly entryCount: number;
  readonly headerLengthBytes: number;
}

/** SHA-256(domain, SHA-256(header), SHA-256(logical table)): what a delta says, not how it is stored. */
export function contentRootOf(headerHash: Uint8Array, logicalTable: Uint8Array): Buffer {
  return sha256(Buffer.concat([contentRootDomain, headerHash, sha256(logicalTable)]));
}

/** Bytes of an index of `entryCount` entries. */
export function indexLengthBytes(entryCount: number): number {
  return entryCount * (logicalEntryLengthBytes + placementEntryLengthBytes);
}

/** The last 192 bytes of a delta file. */
export function encodeTrailer(trailer: DeltaTrailer): Buffer {
  const bytes = Buffer.alloc(trailerLengthBytes);
  const view = viewOf(bytes);
  bytes.set(trailer.contentRoot, 0);
  bytes.set(trailer.headerHash, 32);
  bytes.set(trailer.placementHash, 64);
  writeUint64(view, 96, trailer.indexPositionBytes);
  writeUint64(view, 104, trailer.fileSizeBytes);
  view.setUint32(112, trailer.entryCount, true);
  view.setUint32(116, trailer.headerLengthBytes, true);
  view.setUint16(176, deltaVersion, true);
  view.setUint16(178, trailerLengthBytes, true);
  view.setUint32(180, crc32(bytes.subarray(0, 180)), true);
  bytes.set(trailerMagic, 184);
  return bytes;
}

/**
 * Reads the trailer at the end of `tail`, the last bytes of a file of `fileSizeBytes`. What it returns is within all limits
 * and adds up with the file's size.
 */
export function decodeTrailer(tail: Uint8Array, fileSizeBytes: number): DeltaTrailer {
  if (tail.length < trailerLengthBytes) throw deltaCorrupt("trailer", "the file is too short");
  const bytes = tail.subarray(tail.length - trailerLengthBytes);
  const view = viewOf(bytes);
  if (!sameBytes(bytes.subarray(184), trailerMagic)) {
    throw deltaCorrupt("trailer", "the file does not end as a delta does");
  }
  // A newer version may have a longer trailer; its checksum still stands at the same place and covers all before it.
  const lengthBytes = view.getUint16(178, true);
  const covered = tail.subarray(Math.max(0, tail.length - lengthBytes), tail.length - 12);
  if (lengthBytes > tail.length || view.getUint32(180, true) !== crc32(covered)) {
    throw deltaCorrupt("trailer", "the checksum does not match");
  }
  const version = view.getUint16(176, true);
  if (version > deltaVersion) throw deltaTooNew("trailer", `version ${version}`);
  if (version === 0 || lengthBytes !== trailerLengthBytes) {
    throw deltaCorrupt("trailer", "version or length is wrong");
  }
  if (!isZeroes(bytes.subarray(120, 176))) {
    throw deltaCorrupt("trailer", "a reserved field is not zero");
  }
  const trailer: DeltaTrailer = {
    contentRoot: copyOf(bytes, 0, 32),
    headerHash: copyOf(bytes, 32, 64),
    placementHash: copyOf(bytes, 64, 96),
    indexPositionBytes: readUint64(view, 96),
    fileSizeBytes: readUint64(view, 104),
    entryCount: view.getUint32(112, true),
    headerLengthBytes: view.getUint32(116, true),
  };
  checkSizes(trailer, fileSizeBytes);
  return trailer;
}

function checkSizes(trailer: DeltaTrailer, fileSizeBytes: number): void {
  const { indexPositionBytes, entryCount, headerLengthBytes } = trailer;
  if (trailer.fileSizeBytes !== fileSizeBytes) {
    const details = { sealedSizeBytes: trailer.fileSizeBytes, fileSizeBytes };
    throw deltaCorrupt("trailer", "the file does not have the size it was sealed with", details);
  }
  if (headerLengthBytes > headerLengthBytesMax || entryCount > indexEntriesMax) {
    throw deltaCorrupt("trailer", "header or index is larger than the limit", {
      headerLengthBytes,
      entryCount,
    });
  }
  const addsUp =
    indexPositionBytes >= prologueLengthBytes + headerLengthBytes &&
    indexPositionBytes + indexLengthBytes(entryCount) + trailerLengthBytes === fileSizeBytes;
  if (!addsUp) throw deltaCorrupt("trailer", "the parts of the file do not add up to its size");
}

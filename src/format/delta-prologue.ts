import { crc32 } from "node:zlib";
import { copyOf, isZeroes, sameBytes, viewOf } from "./bytes.ts";
import { type Codec, codecNumber, codecOf } from "./codec.ts";
import { deltaCorrupt, deltaTooNew } from "./delta-corrupt.ts";
import { deltaVersion, headerLengthBytesMax, prologueLengthBytes } from "./delta-limits.ts";

/** 0x89 says "binary"; the line feed is lost by transfers in text mode. */
const prologueMagic = Buffer.from("\x89AFTDLT\n", "latin1");

/** What the first bytes of a delta file say. */
export interface DeltaPrologue {
  /** `raw`: every chunk is raw. `zstd`: a chunk may be either. */
  readonly codec: Codec;
  readonly headerLengthBytes: number;
  /** SHA-256 of the header's bytes. */
  readonly headerHash: Uint8Array;
}

/** The first 64 bytes of a delta file. */
export function encodePrologue(prologue: DeltaPrologue): Buffer {
  const bytes = Buffer.alloc(prologueLengthBytes);
  const view = viewOf(bytes);
  bytes.set(prologueMagic, 0);
  view.setUint16(8, deltaVersion, true);
  view.setUint16(10, prologueLengthBytes, true);
  view.setUint8(12, 0); // Cipher: none.
  view.setUint8(13, codecNumber(prologue.codec));
  view.setUint32(16, prologue.headerLengthBytes, true);
  bytes.set(prologue.headerHash, 28);
  view.setUint32(60, crc32(bytes.subarray(0, 60)), true);
  return bytes;
}

/** Reads a prologue from at least 64 bytes; fewer are DELTA_CORRUPT, as is whatever does not hold. DELTA_VERSION when newer. */
export function decodePrologue(bytes: Uint8Array): DeltaPrologue {
  if (bytes.length < prologueLengthBytes) throw deltaCorrupt("prologue", "the file is too short");
  const view = viewOf(bytes);
  if (!sameBytes(bytes.subarray(0, 8), prologueMagic)) {
    throw deltaCorrupt("prologue", "not a delta file");
  }
  if (view.getUint32(60, true) !== crc32(bytes.subarray(0, 60))) {
    throw deltaCorrupt("prologue", "the checksum does not match");
  }
  const version = view.getUint16(8, true);
  if (version > deltaVersion) throw deltaTooNew("prologue", `version ${version}`);
  if (version === 0 || view.getUint16(10, true) !== prologueLengthBytes) {
    throw deltaCorrupt("prologue", "version or length is wrong");
  }
  if (view.getUint8(12) !== 0) throw deltaTooNew("prologue", `cipher ${view.getUint8(12)}`);
  const codec = codecOf(view.getUint8(13));
  if (codec === null) throw deltaTooNew("prologue", `codec ${view.getUint8(13)}`);
  if (!isZeroes(bytes.subarray(14, 16)) || !isZeroes(bytes.subarray(20, 28))) {
    throw deltaCorrupt("prologue", "a reserved field is not zero");
  }
  const headerLengthBytes = view.getUint32(16, true);
  if (headerLengthBytes > headerLengthBytesMax) {
    throw deltaCorrupt("prologue", "the header is longer than the limit", { headerLengthBytes });
  }
  return { codec, headerLengthBytes, headerHash: copyOf(bytes, 28, 60) };
}

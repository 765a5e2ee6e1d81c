import { promisify } from "node:util";
import {
  constants,
  crc32,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from "node:zlib";
import { viewOf } from "./bytes.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import { payloadCrcLengthBytes } from "./delta-limits.ts";

/** How a chunk's payload is stored. */
export type Codec = "raw" | "zstd";

const codecs: readonly Codec[] = ["raw", "zstd"];
const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const compression = { [constants.ZSTD_c_compressionLevel]: 1 };
/** Handing less than this to another thread costs more than compressing it. */
const threadWorthBytesMin = 256 * 1024;
/** A frame of data that does not compress is a little longer than the data (RFC 8878: block headers). */
const frameSlackBytes = 1024;
/** A chunk is 1 MiB at most, so no honest frame needs a larger window; a hostile one gets no more memory than that. */
const windowLogMax = 20;

/** The codec's number in prologue and index. */
export function codecNumber(codec: Codec): number {
  return codecs.indexOf(codec);
}

/** The codec of a number, or null when there is none. */
export function codecOf(number: number): Codec | null {
  return codecs[number] ?? null;
}

/** `data` as a zstd payload: one frame and its CRC-32; null when that would not be smaller. Large ones elsewhere if `usesThreads`. */
export async function encodeZstdPayload(
  data: Uint8Array,
  options: { readonly usesThreads: boolean },
): Promise<Buffer | null> {
  // One output buffer that holds any frame: growing by the default of 16 KiB costs as much as compressing.
  const settings = { params: compression, chunkSize: data.length + frameSlackBytes };
  const usesThread = options.usesThreads && data.length >= threadWorthBytesMin;
  const frame = usesThread ? await compress(data, settings) : zstdCompressSync(data, settings);
  if (frame.length + payloadCrcLengthBytes >= data.length) return null;
  const payload = Buffer.allocUnsafe(frame.length + payloadCrcLengthBytes);
  payload.set(frame, 0);
  viewOf(payload).setUint32(frame.length, crc32(frame), true);
  return payload;
}

/** The `lengthBytes` bytes of a zstd payload; DELTA_CORRUPT when it is damaged or holds more or less. */
export async function decodeZstdPayload(
  payload: Uint8Array,
  { lengthBytes, usesThreads }: { readonly lengthBytes: number; readonly usesThreads: boolean },
): Promise<Uint8Array> {
  const frameLengthBytes = payload.length - payloadCrcLengthBytes;
  if (frameLengthBytes < 0) throw deltaCorrupt("chunk", "the compressed payload is too short");
  // The checksum comes first: zstd ignores some bits of a frame, and none may change unseen.
  const frame = payload.subarray(0, frameLengthBytes);
  if (viewOf(payload).getUint32(frameLengthBytes, true) !== crc32(frame)) {
    throw deltaCorrupt("chunk", "the compressed payload's checksum does not match");
  }
  const bounds = {
    maxOutputLength: lengthBytes,
    params: { [constants.ZSTD_d_windowLogMax]: windowLogMax },
  };
  let data: Uint8Array;
  try {
    data = usesThreads ? await decompress(frame, bounds) : zstdDecompressSync(frame, bounds);
  } catch (error) {
    throw deltaCorrupt("chunk", "the payload does not decompress", {}, { cause: error });
  }
  if (data.length === lengthBytes) return data;
  throw deltaCorrupt("chunk", "the payload decompresses to the wrong length");
}

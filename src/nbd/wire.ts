import assert from "node:assert/strict";

/** Writes an offset or size as 64 bits without BigInt: on the hot path of every request. */
export function writeUint64(into: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0);
  into.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  into.writeUInt32BE(value % 2 ** 32, at + 4);
}

/** Reads 64 bits as an offset or size; null above 2^53 - 1, where a number is not exact any more. */
export function readUint64(from: Buffer, at: number): number | null {
  const value = from.readUInt32BE(at) * 2 ** 32 + from.readUInt32BE(at + 4);
  return Number.isSafeInteger(value) ? value : null;
}

/** A 32-bit length followed by the text as UTF-8: how the options carry names. */
export function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** Two bytes, big-endian. */
export function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** Four bytes, big-endian. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The bytes as text, or null when they are not UTF-8, which every string of the protocol must be. */
export function readText(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null; // TypeError is the decoder's only way to say so.
  }
}

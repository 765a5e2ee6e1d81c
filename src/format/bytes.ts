import assert from "node:assert/strict";
import { hash } from "node:crypto";

/** A DataView of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A little-endian 64-bit number; beyond 2^53 it is not exact, and larger than every limit of the formats. */
export function readUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** Writes a whole number in [0, 2^53) as 64 bits, little-endian. */
export function writeUint64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "not a position or length");
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** A copy of [start, end): a Buffer's own `slice` shares, and would keep what it was cut from. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end));
}

/** SHA-256 of `data`, 32 bytes. */
export function sha256(data: Uint8Array): Buffer {
  return hash("sha256", data, "buffer");
}

/** The bytes as lower-case hex. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** The bytes of a lower-case hex text of exactly `lengthBytes` bytes. */
export function bytesOfHex(hex: string, lengthBytes: number): Buffer {
  const bytes = Buffer.from(hex, "hex");
  assert(bytes.length === lengthBytes && hex.length === lengthBytes * 2, "not a hash in hex");
  return bytes;
}

/** Whether two byte strings are equal. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** Whether all bytes are zero. */
export function isZeroes(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

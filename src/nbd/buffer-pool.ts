import { KIB } from "../base/units.ts";

/** Below this the runtime's own allocator is as fast. */
const pooledMinBytes = 16 * KIB;

/**
 * Buffers for payloads, used again: fresh large ones cost page faults on every request. Holds at most `heldBytesMax` that
 * nobody uses. Contents are whatever was there before: overwrite them all before they leave.
 */
export class BufferPool {
  readonly #heldBytesMax: number;
  readonly #free = new Map<number, ArrayBuffer[]>();
  #heldBytes = 0;

  constructor(heldBytesMax: number) {
    this.#heldBytesMax = heldBytesMax;
  }

  /** A buffer of exactly `lengthBytes`. */
  take(lengthBytes: number): Buffer {
    if (lengthBytes < pooledMinBytes) return Buffer.allocUnsafe(lengthBytes);
    const sizeBytes = sizeClass(lengthBytes);
    const found = this.#free.get(sizeBytes)?.pop();
    if (found === undefined) return Buffer.allocUnsafeSlow(sizeBytes).subarray(0, lengthBytes);
    this.#heldBytes -= sizeBytes;
    return Buffer.from(found, 0, lengthBytes);
  }

  /** Gives back what `take` gave; the caller must not touch it any more. */
  give(buffer: Buffer): void {
    const memory = buffer.buffer;
    if (buffer.length < pooledMinBytes || !(memory instanceof ArrayBuffer)) return;
    if (this.#heldBytes + memory.byteLength > this.#heldBytesMax) return;
    const list = this.#free.get(memory.byteLength);
    if (list === undefined) this.#free.set(memory.byteLength, [memory]);
    else list.push(memory);
    this.#heldBytes += memory.byteLength;
  }
}

function sizeClass(lengthBytes: number): number {
  return 2 ** Math.ceil(Math.log2(lengthBytes));
}

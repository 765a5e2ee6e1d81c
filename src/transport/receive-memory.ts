import assert from "node:assert/strict";
import { chunkBodyLengthBytesMax } from "../format/wire-limits.ts";

/** Bodies longer than this get a buffer of the pool, which has room for any chunk. */
const pooledBytesMin = chunkBodyLengthBytesMax / 2;
/** Buffers that are kept for the next chunk. */
const keptBuffersMax = 16;

/** Room for one body, held until `release`. */
export interface Room {
  readonly bytes: Uint8Array;
  release(): void;
}

interface Waiter {
  readonly lengthBytes: number;
  readonly signal: AbortSignal;
  readonly resolve: (room: Room) => void;
}

/**
 * The memory for what was received and not yet executed, over all sessions: who asks for more than is free waits its turn, and
 * its channel is not read meanwhile.
 */
export class ReceiveMemory {
  readonly #bytesMax: number;
  readonly #kept: ArrayBuffer[] = [];
  readonly #waiters: Waiter[] = [];
  #usedBytes = 0;

  constructor(bytesMax: number) {
    assert(bytesMax >= chunkBodyLengthBytesMax, "room for one chunk at least");
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Room for exactly `lengthBytes`. After `signal` aborted nobody gets any. */
  take(lengthBytes: number, signal: AbortSignal): Room | Promise<Room> {
    if (this.#waiters.length === 0 && this.#fits(lengthBytes)) return this.#make(lengthBytes);
    const { promise, resolve } = Promise.withResolvers<Room>();
    this.#waiters.push({ lengthBytes, signal, resolve });
    return promise;
  }

  #fits(lengthBytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + lengthBytes <= this.#bytesMax;
  }

  #make(lengthBytes: number): Room {
    this.#usedBytes += lengthBytes;
    const isPooled = lengthBytes >= pooledBytesMin && lengthBytes <= chunkBodyLengthBytesMax;
    const buffer = isPooled
      ? (this.#kept.pop() ?? new ArrayBuffer(chunkBodyLengthBytesMax))
      : new ArrayBuffer(lengthBytes);
    let isHeld = true;
    return {
      bytes: new Uint8Array(buffer, 0, lengthBytes),
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#usedBytes -= lengthBytes;
        if (isPooled && this.#kept.length < keptBuffersMax) this.#kept.push(buffer);
        this.#serve();
      },
    };
  }

  #serve(): void {
    for (let first = this.#waiters[0]; first !== undefined; first = this.#waiters[0]) {
      if (first.signal.aborted) this.#waiters.shift();
      else if (!this.#fits(first.lengthBytes)) return;
      else {
        this.#waiters.shift();
        first.resolve(this.#make(first.lengthBytes));
      }
    }
  }
}

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

/** Whom room is counted for, and the most that all of the same name may hold; one body is always theirs. */
export interface RoomOwner {
  readonly name: string;
  readonly bytesMax: number;
}

interface Waiter {
  readonly lengthBytes: number;
  readonly owner: RoomOwner;
  readonly signal: AbortSignal;
  readonly resolve: (room: Room) => void;
}

/**
 * The memory for what was received and not yet executed, over all sessions: who asks for more than is free, or than one owner may
 * have, waits its turn, and its channel is not read meanwhile.
 */
export class ReceiveMemory {
  readonly #bytesMax: number;
  readonly #kept: ArrayBuffer[] = [];
  readonly #waiters: Waiter[] = [];
  readonly #ownedBytes = new Map<string, number>();
  #usedBytes = 0;

  constructor(bytesMax: number) {
    assert(bytesMax >= chunkBodyLengthBytesMax, "room for one chunk at least");
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Room for exactly `lengthBytes`. After `signal` aborted nobody gets any. */
  take(lengthBytes: number, owner: RoomOwner, signal: AbortSignal): Room | Promise<Room> {
    const { promise, resolve } = Promise.withResolvers<Room>();
    let made: Room | null = null;
    const waiter: Waiter = {
      ...{ lengthBytes, owner, signal },
      resolve: (room) => {
        made = room;
        resolve(room);
      },
    };
    this.#waiters.push(waiter);
    this.#serve();
    return made ?? promise;
  }

  #fits(lengthBytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + lengthBytes <= this.#bytesMax;
  }

  /** Whether the owner has not its share yet. */
  #mayHave(lengthBytes: number, { name, bytesMax }: RoomOwner): boolean {
    const ownedBytes = this.#ownedBytes.get(name) ?? 0;
    return ownedBytes === 0 || ownedBytes + lengthBytes <= bytesMax;
  }

  #account(name: string, lengthBytes: number): void {
    this.#usedBytes += lengthBytes;
    const ownedBytes = (this.#ownedBytes.get(name) ?? 0) + lengthBytes;
    if (ownedBytes === 0) this.#ownedBytes.delete(name);
    else this.#ownedBytes.set(name, ownedBytes);
  }

  #make(lengthBytes: number, { name }: RoomOwner): Room {
    this.#account(name, lengthBytes);
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
        this.#account(name, -lengthBytes);
        if (isPooled && this.#kept.length < keptBuffersMax) this.#kept.push(buffer);
        this.#serve();
      },
    };
  }

  #serve(): void {
    for (let place = 0; place < this.#waiters.length; ) {
      const { lengthBytes, owner, signal, resolve } = this.#waiters[place]!;
      if (signal.aborted) this.#waiters.splice(place, 1);
      // Whoever has its share lets others pass; whoever would fit but for the others is not passed.
      else if (!this.#mayHave(lengthBytes, owner)) place += 1;
      else if (!this.#fits(lengthBytes)) return;
      else {
        this.#waiters.splice(place, 1);
        resolve(this.#make(lengthBytes, owner));
      }
    }
  }
}

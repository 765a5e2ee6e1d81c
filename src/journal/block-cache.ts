import assert from "node:assert/strict";
import { MIB } from "../base/units.ts";
import { blockSizeBytes } from "../core/limits.ts";

/** Slots of a block each that one view keeps at most. */
const slotsMax = (64 * MIB) / blockSizeBytes;
/** Slots are allocated together and never given back: fresh memory for each read costs more than the read. */
const slotsAtOnce = 16;

interface Slot {
  readonly bytes: Buffer;
  loading: Promise<void>;
  users: number;
}

/**
 * Verified pieces and blocks of up to 64 KiB, the last used ones. Readers copy out while they hold a slot, so a slot that nobody
 * holds can take other bytes at once. When all are held more are made for the moment.
 */
export class BlockCache {
  /** By key; last used is last in the map. */
  readonly #slots = new Map<string, Slot>();
  readonly #free: Buffer[] = [];

  /**
   * Copies from the `lengthBytes` bytes under `key`, starting at `skipBytes`, into `part`. `load` fills and checks them unless they
   * are held; a read of bytes that are just being loaded waits for that.
   */
  async copy(
    key: string,
    unit: { lengthBytes: number; load: (into: Uint8Array) => Promise<void> },
    part: Uint8Array,
    skipBytes: number,
  ): Promise<void> {
    assert(unit.lengthBytes <= blockSizeBytes && skipBytes + part.length <= unit.lengthBytes);
    const slot = this.#slots.get(key) ?? this.#load(key, unit);
    slot.users += 1;
    this.#slots.delete(key);
    this.#slots.set(key, slot);
    try {
      await slot.loading;
      part.set(slot.bytes.subarray(skipBytes, skipBytes + part.length));
    } catch (error) {
      // A failure is not kept: the next read asks the medium again.
      if (this.#slots.get(key) === slot) this.#slots.delete(key);
      throw error;
    } finally {
      slot.users -= 1;
      const isDropped = this.#slots.get(key) !== slot;
      if (isDropped && slot.users === 0) this.#free.push(slot.bytes);
    }
  }

  #load(
    key: string,
    { lengthBytes, load }: { lengthBytes: number; load: (into: Uint8Array) => Promise<void> },
  ): Slot {
    const bytes = this.#takeSlot();
    const slot: Slot = { bytes, loading: load(bytes.subarray(0, lengthBytes)), users: 0 };
    this.#slots.set(key, slot);
    return slot;
  }

  #takeSlot(): Buffer {
    if (this.#free.length === 0 && this.#slots.size >= slotsMax) this.#dropOldest();
    if (this.#free.length === 0) {
      const together = Buffer.allocUnsafeSlow(slotsAtOnce * blockSizeBytes);
      for (let slot = 0; slot < slotsAtOnce; slot += 1) {
        this.#free.push(together.subarray(slot * blockSizeBytes, (slot + 1) * blockSizeBytes));
      }
    }
    return this.#free.pop()!;
  }

  #dropOldest(): void {
    for (const [key, slot] of this.#slots) {
      if (slot.users > 0) continue;
      this.#slots.delete(key);
      this.#free.push(slot.bytes);
      return;
    }
  }
}

import { MIB } from "../base/units.ts";

/** Verified bytes that one view keeps. */
const cachedBytesMax = 32 * MIB;

/** Verified bytes of any length, the last used ones; a read of one that is just being read waits for that. */
export class UnitCache {
  readonly #units = new Map<string, Promise<Uint8Array>>();
  readonly #lengths = new Map<string, number>();
  #bytes = 0;

  /** The bytes under `key`, read by `load` unless they are held; not to be written to. */
  async get(key: string, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#units.get(key);
    if (known !== undefined) {
      this.#units.delete(key);
      this.#units.set(key, known); // Last used is last in the map.
      return known;
    }
    const loading = load();
    this.#units.set(key, loading);
    try {
      const bytes = await loading;
      this.#account(key, bytes.length);
      return bytes;
    } catch (error) {
      this.#units.delete(key); // A failure is not kept: the next read asks the medium again.
      throw error;
    }
  }

  #account(key: string, lengthBytes: number): void {
    this.#lengths.set(key, lengthBytes);
    this.#bytes += lengthBytes;
    for (const oldest of this.#units.keys()) {
      if (this.#bytes <= cachedBytesMax) return;
      const length = this.#lengths.get(oldest);
      if (length === undefined) continue; // Still being read.
      this.#units.delete(oldest);
      this.#lengths.delete(oldest);
      this.#bytes -= length;
    }
  }
}

import type { StoredFile } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";

const stepBytes = 2 * MIB;

/** Reads a file front to back in large steps and hands it out in pieces. */
export class SequentialReader {
  readonly #file: StoredFile;
  #held: Uint8Array = new Uint8Array(0);
  #buffer = Buffer.allocUnsafeSlow(stepBytes);
  #positionBytes = 0;

  constructor(file: StoredFile) {
    this.#file = file;
  }

  /** The next `lengthBytes` bytes, valid until the next call; null when the file ends before. */
  async take(lengthBytes: number): Promise<Uint8Array | null> {
    if (this.#held.length < lengthBytes) await this.#fill(lengthBytes);
    if (this.#held.length < lengthBytes) return null;
    const taken = this.#held.subarray(0, lengthBytes);
    this.#held = this.#held.subarray(lengthBytes);
    return taken;
  }

  /** Goes on behind the next `lengthBytes` bytes, which are not read where that can be helped. */
  skip(lengthBytes: number): void {
    const held = Math.min(lengthBytes, this.#held.length);
    this.#held = this.#held.subarray(held);
    this.#positionBytes += lengthBytes - held;
  }

  async #fill(lengthBytes: number): Promise<void> {
    const rest = this.#held.length;
    const wantedBytes = Math.max(stepBytes, lengthBytes);
    const target =
      this.#buffer.length < wantedBytes ? Buffer.allocUnsafeSlow(wantedBytes) : this.#buffer;
    // Moving within one buffer is safe: `set` copies as if through a second one (ECMA-262, %TypedArray%.prototype.set).
    target.set(this.#held, 0);
    this.#buffer = target;
    const sizeBytes = await this.#file.sizeBytes();
    // A length that the file cannot have is not allocated for by callers that checked their limits; here it just ends.
    const room = target.subarray(
      rest,
      Math.min(wantedBytes, rest + Math.max(0, sizeBytes - this.#positionBytes)),
    );
    const readBytes = await this.#file.read(room, this.#positionBytes);
    this.#positionBytes += readBytes;
    this.#held = target.subarray(0, rest + readBytes);
  }
}

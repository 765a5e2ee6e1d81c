/** A small file's bytes in one array that grows as needed; what was never written reads as zeroes. */
export class GrowingBytes {
  #bytes = new Uint8Array(0);
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Fills `into` from `positionBytes`; returns how many bytes were there. */
  read(into: Uint8Array, positionBytes: number): number {
    const endBytes = Math.min(this.#sizeBytes, positionBytes + into.length);
    if (endBytes <= positionBytes) return 0;
    into.set(this.#bytes.subarray(positionBytes, endBytes));
    return endBytes - positionBytes;
  }

  write(from: Uint8Array, positionBytes: number): void {
    if (from.length === 0) return;
    const endBytes = positionBytes + from.length;
    this.#reserve(endBytes);
    this.#bytes.set(from, positionBytes);
    this.#sizeBytes = Math.max(this.#sizeBytes, endBytes);
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) this.#bytes.fill(0, sizeBytes, this.#sizeBytes);
    this.#reserve(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** Makes a run read as zeroes; the size stays. */
  punch(positionBytes: number, lengthBytes: number): void {
    this.#bytes.fill(0, positionBytes, Math.min(this.#sizeBytes, positionBytes + lengthBytes));
  }

  copy(): GrowingBytes {
    const copy = new GrowingBytes();
    copy.write(this.#bytes.subarray(0, this.#sizeBytes), 0);
    return copy;
  }

  #reserve(sizeBytes: number): void {
    if (sizeBytes <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(sizeBytes, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#sizeBytes));
    this.#bytes = larger;
  }
}

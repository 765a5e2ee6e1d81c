/** Buffers of one size that are used again; who takes one gives it back. */
export class BufferPool {
  readonly #lengthBytes: number;
  readonly #free: Uint8Array[] = [];

  constructor(lengthBytes: number) {
    this.#lengthBytes = lengthBytes;
  }

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.#lengthBytes);
  }

  give(buffer: Uint8Array): void {
    this.#free.push(buffer);
  }
}

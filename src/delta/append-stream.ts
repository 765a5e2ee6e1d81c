import type { StoredFile } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";

/** Bytes gathered before they are written: large writes at aligned positions. */
const stagingSizeBytes = 2 * MIB;
/** Staging buffers of one stream: all but one may be on their way to the file. */
const stagingBuffersMax = 4;

/**
 * Appends to a file through a few fixed buffers: what is appended is copied at once and written behind the caller's back.
 * One `append` at a time. The first failed write fails every later call.
 */
export class AppendStream {
  readonly #file: StoredFile;
  readonly #free: Uint8Array[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #buffersMade = 0;
  #current: Uint8Array | null = null;
  #filledBytes = 0;
  #writtenBytes = 0;
  #failure: { readonly error: unknown } | null = null;

  constructor(file: StoredFile) {
    this.#file = file;
  }

  /** Where the next byte will stand. */
  get positionBytes(): number {
    return this.#writtenBytes + this.#filledBytes;
  }

  /** `bytes` may be reused when it resolves; it waits only while all buffers are on their way. */
  async append(bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.length; ) {
      const current = this.#current ?? (await this.#takeBuffer());
      const lengthBytes = Math.min(bytes.length - start, stagingSizeBytes - this.#filledBytes);
      current.set(bytes.subarray(start, start + lengthBytes), this.#filledBytes);
      this.#filledBytes += lengthBytes;
      start += lengthBytes;
      if (this.#filledBytes === stagingSizeBytes) this.#writeBehind(current);
    }
  }

  /** Everything appended has been written (not synced) when it resolves. */
  async flush(): Promise<void> {
    if (this.#current !== null) this.#writeBehind(this.#current);
    await this.settle();
    this.#throwFailure();
  }

  /** Resolves when no write is under way any more, failed or not. */
  async settle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  async #takeBuffer(): Promise<Uint8Array> {
    let buffer = this.#free.pop();
    while (buffer === undefined) {
      if (this.#buffersMade < stagingBuffersMax) {
        this.#buffersMade += 1;
        buffer = new Uint8Array(new ArrayBuffer(stagingSizeBytes));
      } else {
        await Promise.race(this.#underWay);
        buffer = this.#free.pop();
      }
    }
    this.#current = buffer;
    this.#throwFailure();
    return buffer;
  }

  #writeBehind(buffer: Uint8Array): void {
    const writing = this.#write(buffer.subarray(0, this.#filledBytes), this.#writtenBytes);
    this.#writtenBytes += this.#filledBytes;
    this.#filledBytes = 0;
    this.#current = null;
    const settled: Promise<void> = writing.finally(() => {
      this.#underWay.delete(settled);
      this.#free.push(buffer);
    });
    this.#underWay.add(settled);
  }

  /** Never rejects: a failure waits for the next call of the owner. */
  async #write(bytes: Uint8Array, positionBytes: number): Promise<void> {
    try {
      await this.#file.write(bytes, positionBytes);
    } catch (error) {
      this.#failure ??= { error };
    }
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}

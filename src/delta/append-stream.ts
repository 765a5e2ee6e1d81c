import type { StoredFile } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";

/** Bytes gathered before they are written: large writes at aligned positions. */
const stagingSizeBytes = 2 * MIB;
/** Staging buffers of one stream: all but one may be on their way to the file. */
const stagingBuffersMax = 4;

/** Bytes on their way to the file: they may be reused when `written` resolves, and it rejects when any write has failed. */
export interface Written {
  readonly written: Promise<void>;
}

/**
 * Appends to a file through a few fixed buffers: what is appended is copied at once and written behind the caller's back;
 * large parts may go without a copy. One call at a time. The first failed write fails every later call.
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

  /** Appends without copying: what was gathered so far and then `bytes` go their way at once, behind everything before. */
  appendInPlace(bytes: Uint8Array): Written {
    this.#throwFailure();
    if (this.#current !== null) this.#writeBehind(this.#current);
    const writing = this.#underWayUntil(this.#write(bytes, this.#writtenBytes));
    this.#writtenBytes += bytes.length;
    return { written: writing.then(() => this.#throwFailure()) };
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
    void this.#underWayUntil(writing.then(() => void this.#free.push(buffer)));
  }

  #underWayUntil(writing: Promise<void>): Promise<void> {
    const settled: Promise<void> = writing.then(() => void this.#underWay.delete(settled));
    this.#underWay.add(settled);
    return settled;
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

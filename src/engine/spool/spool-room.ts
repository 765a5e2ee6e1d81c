import { Fault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { formatBytes, MIB } from "../../base/units.ts";

/** Free space is asked for anew after so many bytes were taken. */
const lookEveryBytes = 32 * MIB;

/** What the deltas of all groups take together, against the cap and the reserve. */
export class SpoolRoom {
  readonly capBytes: number;
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #reserveBytes: number;
  #usedBytes = 0;
  /** Known to be free beyond the reserve, as of the last look, less what was taken since. */
  #freeBytes = 0;
  #lookedAtBytes = 0;

  constructor(options: {
    readonly files: FileSystem;
    readonly directory: string;
    readonly capBytes: number;
    readonly reserveBytes: number;
  }) {
    this.#files = options.files;
    this.#directory = options.directory;
    this.capBytes = options.capBytes;
    this.#reserveBytes = options.reserveBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** What a file that is there already takes. */
  count(bytes: number): void {
    this.#usedBytes += bytes;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }

  /** Takes room for bytes about to be written, or SPOOL_FULL. */
  async take(bytes: number): Promise<void> {
    if (this.#usedBytes + bytes > this.capBytes) throw this.#capReached(bytes);
    this.#usedBytes += bytes;
    this.#lookedAtBytes += bytes;
    this.#freeBytes -= bytes;
    if (this.#lookedAtBytes < lookEveryBytes && this.#freeBytes >= 0) return;
    try {
      await this.look(0);
    } catch (error) {
      this.#usedBytes -= bytes;
      throw error;
    }
  }

  /** Whether so many bytes would have room now; SPOOL_FULL. Takes none. */
  async look(bytes: number): Promise<void> {
    if (this.#usedBytes + bytes > this.capBytes) throw this.#capReached(bytes);
    const freeBytes = (await this.#files.freeBytes(this.#directory)) - this.#reserveBytes;
    this.#freeBytes = freeBytes;
    this.#lookedAtBytes = 0;
    if (freeBytes >= bytes) return;
    const message = `${this.#directory}: ${formatBytes(freeBytes + this.#reserveBytes)} are free and ${formatBytes(this.#reserveBytes)} must stay so`;
    throw new Fault("SPOOL_FULL", message, { freeBytes, reserveBytes: this.#reserveBytes });
  }

  #capReached(bytes: number): Fault {
    const message = `${this.#directory} holds ${formatBytes(this.#usedBytes)} of ${formatBytes(this.capBytes)}, ${formatBytes(bytes)} more were asked for`;
    return new Fault("SPOOL_FULL", message, {
      usedBytes: this.#usedBytes,
      capBytes: this.capBytes,
      askedBytes: bytes,
    });
  }
}

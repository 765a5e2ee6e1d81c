import { decodeFrameHeader, type FrameHeader, type SkippedFrame } from "../format/wire-frame.ts";
import { frameHeaderLengthBytes } from "../format/wire-limits.ts";

/** What becomes of frames. Whatever it throws or rejects with ends the channel. */
export interface FrameTaker {
  /**
   * Where a body that did not arrive at once shall stand: exactly its length; or a promise of that, while which nothing more is
   * read. Asked before any byte of the body is kept.
   */
  roomFor(header: FrameHeader): Uint8Array | Promise<Uint8Array>;
  /** Whether a body may be handed over as a view of what arrived, without asking for room. */
  takesViews(header: FrameHeader): boolean;
  /** A whole frame. While a promise is pending nothing more is read. */
  frame(header: FrameHeader, body: Uint8Array): Promise<void> | null;
}

const nothing = new Uint8Array(0);

/** Cuts what arrives on a channel into frames, whatever the pieces it arrives in. */
export class FrameReader {
  readonly #taker: FrameTaker;
  readonly #headerBytes = new Uint8Array(frameHeaderLengthBytes);
  #headerFilled = 0;
  #header: FrameHeader | SkippedFrame | null = null;
  #body: Uint8Array | null = null;
  #bodyFilled = 0;

  constructor(taker: FrameTaker) {
    this.#taker = taker;
  }

  /** Takes the next bytes; null when more may follow at once. Throws, or rejects with, what ends the channel. */
  take(bytes: Uint8Array): Promise<void> | null {
    return this.#run(bytes, 0);
  }

  #run(bytes: Uint8Array, start: number): Promise<void> | null {
    let at = start;
    for (;;) {
      if (this.#header === null) {
        at = this.#fillHeader(bytes, at);
        if (this.#headerFilled < frameHeaderLengthBytes) return null;
        this.#header = decodeFrameHeader(this.#headerBytes);
      }
      const header = this.#header;
      if (header.type === null) {
        const skipped = Math.min(bytes.length - at, header.bodyLengthBytes - this.#bodyFilled);
        this.#bodyFilled += skipped;
        at += skipped;
        if (this.#bodyFilled < header.bodyLengthBytes) return null;
        this.#reset();
        continue;
      }
      const whole = this.#viewOfWhole(header, bytes, at);
      if (whole !== null) {
        at += whole.length;
        const pending = this.#handOver(header, whole);
        if (pending !== null) return this.#goOn(pending, bytes, at);
        continue;
      }
      if (this.#body === null) {
        const room = this.#taker.roomFor(header);
        if (room instanceof Promise) {
          const from = at;
          return room.then((body) => {
            this.#body = body;
            return this.#run(bytes, from) ?? undefined;
          });
        }
        this.#body = room;
      }
      at = this.#fillBody(header, this.#body, bytes, at);
      if (this.#bodyFilled < header.bodyLengthBytes) return null;
      const pending = this.#handOver(header, this.#body);
      if (pending !== null) return this.#goOn(pending, bytes, at);
    }
  }

  #goOn(pending: Promise<void>, bytes: Uint8Array, at: number): Promise<void> {
    return pending.then(() => this.#run(bytes, at) ?? undefined);
  }

  #handOver(header: FrameHeader, body: Uint8Array): Promise<void> | null {
    this.#reset();
    return this.#taker.frame(header, body);
  }

  #reset(): void {
    this.#header = null;
    this.#headerFilled = 0;
    this.#body = null;
    this.#bodyFilled = 0;
  }

  #fillHeader(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + frameHeaderLengthBytes - this.#headerFilled);
    this.#headerBytes.set(bytes.subarray(at, end), this.#headerFilled);
    this.#headerFilled += end - at;
    return end;
  }

  #viewOfWhole(header: FrameHeader, bytes: Uint8Array, at: number): Uint8Array | null {
    if (header.bodyLengthBytes === 0) return nothing;
    const isHere = this.#body === null && bytes.length - at >= header.bodyLengthBytes;
    if (!isHere || !this.#taker.takesViews(header)) return null;
    return bytes.subarray(at, at + header.bodyLengthBytes);
  }

  #fillBody(header: FrameHeader, body: Uint8Array, bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + header.bodyLengthBytes - this.#bodyFilled);
    body.set(bytes.subarray(at, end), this.#bodyFilled);
    this.#bodyFilled += end - at;
    return end;
  }
}

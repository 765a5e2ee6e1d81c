import assert from "node:assert/strict";

/** Where bytes land that nobody has asked for yet: the end of one message read together with the start of the next. */
const spareBytes = 4096;

/**
 * Bytes arriving at a socket, delivered exactly as asked for: the reader names a buffer, the inlet fills it.
 *
 *   expect ──▶ hungry ──bytes land──▶ filled: `then` runs, which usually expects the next part
 *                │                      │ nothing expected
 *                └────── fail ──▶ failed ◀──┘ (bytes that are over wait; the socket is paused)
 *
 * Bytes come in one of two ways. A socket with Node's `onread`, or a TLS socket that was told the like, calls `lend` for the buffer of its next read and `landed`
 * afterwards: they land in the reader's buffer and are never copied. Any other socket calls `push` with chunks of its own.
 * Nothing beyond what was expected is ever taken off, so a connection can change hands (to TLS) between two messages.
 */
export class Inlet {
  readonly #onHungry: () => void;
  readonly #spare = Buffer.allocUnsafeSlow(spareBytes);
  #target: Uint8Array | null = null;
  #filledBytes = 0;
  #filledCount = 0;
  #then: (() => void) | null = null;
  #reject: ((error: unknown) => void) | null = null;
  #leftover: Uint8Array | null = null;
  #isDelivering = false;
  #isDiscarding = false;
  #failure: { readonly error: unknown } | null = null;

  /** `onHungry` is called when bytes are wanted and none are left over: resume the socket. */
  constructor(onHungry: () => void) {
    this.#onHungry = onHungry;
  }

  /** Whether the socket should go on reading. */
  get isHungry(): boolean {
    return this.#isDiscarding || (this.#target !== null && this.#failure === null);
  }

  /** Whether a part that was expected has begun to arrive and is not complete. */
  get isPartial(): boolean {
    return this.#target !== null && this.#filledBytes > 0;
  }

  /** Whether bytes have come that nobody expected yet. */
  get hasLeftover(): boolean {
    return this.#leftover !== null;
  }

  /** Parts filled so far; a watchdog looks whether it moves. */
  get filledCount(): number {
    return this.#filledCount;
  }

  /** Fills `target`, then calls `then`, possibly before returning. One expectation at a time; `then` may set the next. */
  expect(target: Uint8Array, then: () => void): void {
    assert(this.#target === null, "one expectation at a time");
    if (this.#failure !== null) return;
    this.#target = target;
    this.#filledBytes = 0;
    this.#then = then;
    if (this.#isDelivering) return;
    this.#deliver();
    if (this.isHungry) this.#onHungry();
  }

  /** Fills `target`; rejects with what `fail` was given. */
  fill(target: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (this.#failure !== null) {
      reject(this.#failure.error);
      return promise;
    }
    this.#reject = reject;
    this.expect(target, () => {
      this.#reject = null;
      resolve();
    });
    return promise;
  }

  /** The buffer the next read of the socket shall go to. */
  lend(): Uint8Array {
    if (this.#target === null || this.#leftover !== null) return this.#spare;
    return this.#filledBytes === 0 ? this.#target : this.#target.subarray(this.#filledBytes);
  }

  /** The read into `buffer`, which was lent, brought `lengthBytes`. */
  landed(lengthBytes: number, buffer: Uint8Array): void {
    if (this.#failure !== null) return; // Nobody will ask for it.
    if (buffer === this.#spare) {
      // Copied: under TLS more may land there before this is asked for.
      this.push(Buffer.from(this.#spare.subarray(0, lengthBytes)));
      return;
    }
    assert(this.#target !== null, "bytes landed in a buffer that was taken back");
    this.#filledBytes += lengthBytes;
    this.#deliver();
  }

  /** Takes a chunk; what is not expected yet waits. */
  push(chunk: Uint8Array): void {
    if (this.#failure !== null) return;
    this.#leftover =
      this.#leftover === null ? chunk : new Uint8Array(Buffer.concat([this.#leftover, chunk]));
    this.#deliver();
  }

  /** Ends it: what is expected is not coming. Idempotent. */
  fail(error: unknown): void {
    if (this.#failure !== null) return;
    this.#failure = { error };
    this.#target = null;
    this.#then = null;
    this.#reject?.(error);
    this.#reject = null;
  }

  /** Ends it like `fail`, and swallows what still comes, so that the other side's end is seen. */
  discard(error: unknown): void {
    this.fail(error);
    this.#isDiscarding = true;
    this.#onHungry();
  }

  #deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      while (this.#target !== null) {
        this.#copyLeftover(this.#target);
        if (this.#filledBytes < this.#target.length) return;
        const then = this.#then;
        this.#target = null;
        this.#then = null;
        this.#filledCount += 1;
        then?.();
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  #copyLeftover(target: Uint8Array): void {
    if (this.#leftover === null) return;
    const lengthBytes = Math.min(this.#leftover.length, target.length - this.#filledBytes);
    target.set(this.#leftover.subarray(0, lengthBytes), this.#filledBytes);
    this.#filledBytes += lengthBytes;
    const isUsedUp = lengthBytes === this.#leftover.length;
    this.#leftover = isUsedUp ? null : this.#leftover.subarray(lengthBytes);
  }
}

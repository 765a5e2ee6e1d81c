import assert from "node:assert/strict";
import type { Clock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import { KIB } from "../src/base/units.ts";
import type { Road } from "./road.ts";

/** What a sender may have on the way before its `send` waits: the buffers of two kernels. */
export const pipeRoomBytes = 256 * KIB;

const rubbish = 0xee;

type Take = (bytes: Uint8Array) => Promise<void> | null;

interface Segment {
  readonly bytes: Uint8Array;
  readonly dueAtMs: number;
}

/** One direction of one channel: bytes in order, delayed, at most a room's worth on the way. */
export class Pipe {
  readonly #clock: Clock;
  readonly #road: Road;
  #segments: Segment[] = [];
  #queuedBytes = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #take: Take | null = null;
  #isBorrowed = false;
  #lastDueAtMs = 0;
  #isPumping = false;
  /** What is sent from now on vanishes. */
  #isCut = false;
  /** Nothing is handed over any more. */
  #isStopped = false;
  #waiting: { readonly go: () => void; readonly fail: (fault: Fault) => void }[] = [];
  #onDrained: (() => void) | null = null;

  constructor(options: { clock: Clock; road: Road }) {
    this.#clock = options.clock;
    this.#road = options.road;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  get onTheWayBytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** Resolves when there is room for more. */
  send(bytes: Uint8Array): Promise<void> | undefined {
    this.#sentBytes += bytes.length;
    this.#queuedBytes += bytes.length;
    if (!this.#isCut && bytes.length > 0) {
      this.#lastDueAtMs = Math.max(this.#lastDueAtMs, this.#road.arrivalMs(bytes.length));
      this.#segments.push({ bytes, dueAtMs: this.#lastDueAtMs });
      void this.#pump();
    }
    if (this.#queuedBytes <= pipeRoomBytes) return undefined;
    return new Promise((go, fail) => this.#waiting.push({ go, fail }));
  }

  receive(take: Take, { isBorrowed = false }: { readonly isBorrowed?: boolean } = {}): void {
    assert(this.#take === null, "receive is called once");
    this.#take = take;
    this.#isBorrowed = isBorrowed;
    void this.#pump();
  }

  /** The connection broke: of what is on the way only the first bytes arrive, later; nothing that is sent from now on does. */
  cut(options: { keptBytes: number; delayMs: number }): void {
    this.#isCut = true;
    let left = options.keptBytes;
    this.#segments = this.#segments.flatMap(({ bytes, dueAtMs }) => {
      const part = bytes.subarray(0, Math.min(left, bytes.length));
      left -= part.length;
      return part.length === 0 ? [] : [{ bytes: part, dueAtMs: dueAtMs + options.delayMs }];
    });
  }

  /** What is on the way arrives, and nothing that is sent from now on does. */
  closeBehind(): void {
    this.#isCut = true;
  }

  /** Calls back once all that was sent has been handed over; not after `stop`. */
  end(onDrained: () => void): void {
    this.#onDrained = onDrained;
    this.#lastDueAtMs = Math.max(this.#lastDueAtMs, this.#road.arrivalMs(0));
    this.#segments.push({ bytes: new Uint8Array(0), dueAtMs: this.#lastDueAtMs });
    void this.#pump();
  }

  /** Hands nothing over any more. */
  stop(): void {
    this.#isStopped = true;
    this.#segments = [];
  }

  /** Whoever waits for room learns that the channel is over. */
  refuse(fault: Fault): void {
    this.#isCut = true;
    for (const { fail } of this.#waiting.splice(0)) fail(fault);
  }

  async #pump(): Promise<void> {
    if (this.#isPumping || this.#take === null) return;
    this.#isPumping = true;
    for (let segment = this.#segments[0]; segment && !this.#isStopped; ) {
      const dueAtMs = Math.max(segment.dueAtMs, this.#road.stalledUntilMs);
      const waitMs = dueAtMs - this.#clock.monotonicMs();
      if (waitMs > 0) {
        await this.#clock.sleep(waitMs);
      } else {
        this.#segments.shift();
        this.#receivedBytes += segment.bytes.length;
        const isTaken = segment.bytes.length > 0 ? this.#take(segment.bytes) : null;
        if (isTaken) await isTaken;
        // Whoever keeps what was only lent to it reads rubbish.
        if (this.#isBorrowed) segment.bytes.fill(rubbish);
        this.#makeRoom(segment.bytes.length);
      }
      segment = this.#segments[0];
    }
    this.#isPumping = false;
    if (this.#isStopped || this.#segments.length > 0) return;
    const onDrained = this.#onDrained;
    this.#onDrained = null;
    onDrained?.();
  }

  #makeRoom(lengthBytes: number): void {
    this.#queuedBytes -= lengthBytes;
    if (this.#queuedBytes > pipeRoomBytes || this.#isCut) return;
    for (const { go } of this.#waiting.splice(0)) go();
  }
}

/** The channel is over: what `send` and `closed` say of it. */
export function linkLost(why: string): Fault {
  return new Fault("LINK_LOST", `The connection ended: ${why}.`);
}

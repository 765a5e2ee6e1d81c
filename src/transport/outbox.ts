import { isFault } from "../base/fault.ts";
import type { Channel } from "../core/channel.ts";

/** So much may wait behind what the channel is sending; more would only be late. */
const waitingBytesMax = 1024 * 1024;

/** What waits to be sent on one channel. Frames pushed in one turn go as one send. */
export class Outbox {
  readonly #channel: Channel;
  readonly #onRoom: () => void;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isSending = false;

  constructor(channel: Channel, onRoom: () => void) {
    this.#channel = channel;
    this.#onRoom = onRoom;
  }

  /** Whether a chunk may be added. Small frames may be added at any time. */
  get hasRoom(): boolean {
    return this.#waitingBytes < waitingBytesMax;
  }

  /** The parts must not change until they were sent. After the channel's end they go nowhere. */
  push(parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      if (part.length === 0) continue;
      this.#waiting.push(part);
      this.#waitingBytes += part.length;
    }
    if (!this.#isSending) void this.#send();
  }

  async #send(): Promise<void> {
    this.#isSending = true;
    try {
      await Promise.resolve(); // Whatever else is pushed in this turn goes along.
      while (this.#waiting.length > 0) {
        const parts = this.#waiting;
        this.#waiting = [];
        this.#waitingBytes = 0;
        const sent = this.#channel.send(parts);
        this.#onRoom();
        await sent;
      }
    } catch (error) {
      // The channel is over; `closed` tells its owner why.
      if (!isFault(error)) throw error;
    } finally {
      this.#isSending = false;
    }
  }
}

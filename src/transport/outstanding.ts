import type { RequestRange } from "../format/wire-control.ts";
import { receivedRangesMax } from "../format/wire-limits.ts";
import type { LinkChannel } from "./link-channel.ts";
import type { Outgoing } from "./outgoing.ts";

/** The vault is told which answers arrived beyond the watermark each time there are so many. */
const receivedEvery = 256;

/** Requests that were sent and not answered, by number; and which channel owes each its answer. */
export class Outstanding {
  readonly #requests = new Map<number, Outgoing>();
  #nextNumber = 1;
  #unconfirmed = 0;

  get size(): number {
    return this.#requests.size;
  }

  /** All answers below have arrived. */
  get watermark(): number {
    const first = this.#requests.keys().next();
    return first.done ? this.#nextNumber : first.value;
  }

  get(number: number): Outgoing | undefined {
    return this.#requests.get(number);
  }

  /** In the order they were first sent. */
  values(): Iterable<Outgoing> {
    return this.#requests.values();
  }

  /** Gives a request its number. */
  add(request: Outgoing): void {
    request.number = this.#nextNumber;
    this.#nextNumber += 1;
    this.#requests.set(request.number, request);
  }

  /** The answer is to come on `channel`. */
  owe(request: Outgoing, channel: LinkChannel): void {
    request.channel = channel;
    channel.outstandingRequests += 1;
    channel.outstandingBytes += request.lengthBytes;
  }

  /** No channel owes it an answer any more. */
  disown(request: Outgoing): void {
    const { channel, lengthBytes } = request;
    if (channel === null) return;
    channel.outstandingRequests -= 1;
    channel.outstandingBytes -= lengthBytes;
    request.channel = null;
  }

  /** It was answered, or is not waited for any more. */
  remove(request: Outgoing): void {
    if (request.number !== this.watermark) this.#unconfirmed += 1;
    this.#requests.delete(request.number);
    this.disown(request);
  }

  /** The channel is over: what it owed has to be asked for. */
  orphan(channel: LinkChannel): void {
    for (const request of this.#requests.values()) {
      if (request.channel === channel) request.channel = null;
    }
  }

  orphans(): readonly Outgoing[] {
    return [...this.#requests.values()].filter(({ channel }) => channel === null);
  }

  /** When many answers arrived out of order: which, so that the vault may forget them. */
  takeConfirmations(): readonly RequestRange[] | null {
    if (this.#unconfirmed < receivedEvery) return null;
    this.#unconfirmed = 0;
    const ranges: RequestRange[] = [];
    let from = this.watermark + 1;
    for (const number of [...this.#requests.keys(), this.#nextNumber]) {
      if (number > from && ranges.length < receivedRangesMax) ranges.push({ from, to: number });
      from = number + 1;
    }
    return ranges.length === 0 ? null : ranges;
  }

  /** Takes all of them out. */
  clear(): readonly Outgoing[] {
    const all = [...this.#requests.values()];
    this.#requests.clear();
    this.#unconfirmed = 0;
    for (const request of all) this.disown(request);
    return all;
  }
}

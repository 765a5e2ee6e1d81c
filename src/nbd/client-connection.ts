import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import type { Exchange, NbdRequest, Statuses } from "./client-exchange.ts";
import type { Negotiated } from "./client-negotiation.ts";
import { type ReplyDesk, ReplyReader } from "./client-replies.ts";
import type { Wire } from "./client-socket.ts";
import { command, requestHeaderBytes, requestMagic } from "./protocol.ts";
import { writeUint64 } from "./wire.ts";

/** A place for one request in flight. Its header is reused: a server that answered has read it. */
interface Slot {
  readonly index: number;
  readonly header: Buffer;
  /** Second half of the cookie: a late second answer to an earlier request of this slot is recognised. */
  generation: number;
  exchange: Exchange | null;
}

/**
 * The transmission phase of one connection: requests out, replies in, many in flight, in any order.
 *
 *   submit ──▶ waiting (no free slot) ──▶ in flight ──▶ settled, the slot goes to the next in waiting
 *                 └───────── the wire ends ─┴──▶ rejected, all of them
 */
export class ClientConnection implements ReplyDesk {
  readonly hasStructuredReplies: boolean;
  readonly sizeBytes: number;
  readonly contextIds: ReadonlySet<number>;
  readonly #wire: Wire;
  readonly #slots: readonly Slot[];
  readonly #free: Slot[];
  readonly #slotOf = new Map<Exchange, Slot>();
  readonly #waiting: Exchange[] = [];
  #settledCount = 0;

  constructor(wire: Wire, negotiated: Negotiated, requestsInFlightMax: number) {
    assert(Number.isInteger(requestsInFlightMax) && requestsInFlightMax >= 1);
    this.hasStructuredReplies = negotiated.hasStructuredReplies;
    this.sizeBytes = negotiated.sizeBytes;
    this.contextIds = new Set(negotiated.metaContexts.keys());
    this.#wire = wire;
    this.#slots = Array.from({ length: requestsInFlightMax }, (_, index) => makeSlot(index));
    this.#free = this.#slots.toReversed();
    wire.onEnd((error) => this.#rejectAll(error));
    new ReplyReader(wire.inlet, this).start();
  }

  /** Requests sent or waiting to be sent. */
  get pendingCount(): number {
    return this.#slotOf.size + this.#waiting.length;
  }

  /** Requests answered so far; a watchdog looks whether it moves. */
  get settledCount(): number {
    return this.#settledCount;
  }

  /** Sends the request when its turn comes. Resolves with what BLOCK_STATUS told, null for all else. */
  submit(request: NbdRequest): Promise<Statuses | null> {
    const { promise, resolve, reject } = Promise.withResolvers<Statuses | null>();
    if (this.#wire.failure !== null) {
      reject(this.#wire.failure.error);
      return promise;
    }
    const exchange: Exchange = {
      ...request,
      resolve,
      reject,
      coverage: null,
      statuses: null,
      chunks: 0,
      fault: null,
    };
    const slot = this.#free.pop();
    if (slot === undefined) this.#waiting.push(exchange);
    else this.#send(slot, exchange);
    return promise;
  }

  find(cookieHigh: number, cookieLow: number): Exchange | null {
    const slot = this.#slots[cookieLow];
    return slot !== undefined && slot.generation === cookieHigh ? slot.exchange : null;
  }

  settle(exchange: Exchange): void {
    const slot = this.#slotOf.get(exchange);
    assert(slot !== undefined, "only requests in flight settle");
    this.#slotOf.delete(exchange);
    slot.exchange = null;
    this.#settledCount += 1;
    if (exchange.fault === null) exchange.resolve(exchange.statuses);
    else exchange.reject(exchange.fault);
    if (exchange.fault?.code === "NBD_CLOSED") this.#wire.destroy(exchange.fault);
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else this.#send(slot, next);
  }

  abandon(fault: Fault): void {
    this.#wire.destroy(fault);
  }

  /** Says goodbye; there is no answer to it. What is pending must have settled. */
  sendDisconnect(): void {
    const header = Buffer.alloc(requestHeaderBytes);
    header.writeUInt32BE(requestMagic, 0);
    header.writeUInt16BE(command.disconnect, 6);
    this.#wire.send(header);
  }

  #send(slot: Slot, exchange: Exchange): void {
    slot.exchange = exchange;
    slot.generation = (slot.generation + 1) % 2 ** 32;
    this.#slotOf.set(exchange, slot);
    const { header } = slot;
    header.writeUInt16BE(exchange.flags, 4);
    header.writeUInt16BE(exchange.command, 6);
    header.writeUInt32BE(slot.generation, 8);
    writeUint64(header, exchange.offsetBytes, 16);
    header.writeUInt32BE(exchange.lengthBytes, 24);
    this.#wire.gather();
    this.#wire.send(header);
    if (exchange.from !== null) this.#wire.send(exchange.from);
  }

  #rejectAll(error: unknown): void {
    const pending = [...this.#slotOf.keys(), ...this.#waiting];
    this.#slotOf.clear();
    this.#waiting.length = 0;
    for (const exchange of pending) exchange.reject(error);
  }
}

function makeSlot(index: number): Slot {
  const header = Buffer.alloc(requestHeaderBytes);
  header.writeUInt32BE(requestMagic, 0);
  header.writeUInt32BE(index, 12);
  return { index, header, generation: 0, exchange: null };
}

/** Ends the wire with TIMEOUT when requests are pending and none is answered for `replyMs`; runs until the wire ends. */
export function watchReplies(
  wire: Wire,
  connection: ClientConnection,
  options: {
    readonly replyMs: number;
    readonly name: string;
    sleep(ms: number, options: { signal: AbortSignal }): Promise<void>;
  },
): void {
  const ended = new AbortController();
  wire.onEnd(() => ended.abort());
  const look = async () => {
    for (;;) {
      const before = connection.settledCount;
      const wasPending = connection.pendingCount > 0;
      await options.sleep(options.replyMs, { signal: ended.signal });
      if (wasPending && connection.settledCount === before) break;
    }
    const message = `${options.name} did not answer within ${options.replyMs} ms`;
    wire.destroy(new Fault("TIMEOUT", message, { replyMs: options.replyMs }));
  };
  look().catch(() => {}); // The sleep ends with the wire.
}

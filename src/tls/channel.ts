import assert from "node:assert/strict";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { type Lender, lendReads, recordBytesMax, SlabLender } from "../base/lent-reads.ts";
import { KIB, MIB } from "../base/units.ts";
import type { Channel, Peer } from "../core/channel.ts";

/** Beyond this many bytes that the kernel has not taken, `send` waits. */
const unsentBytesMax = MIB;
/** Parts below this size are joined before they are encrypted: each write is at least one record of its own. */
const joinedPartBytesMax = 16 * KIB;
/**
 * Records under one key. RFC 8446, 5.5, bounds AES-GCM at 2^24.5 full records, and Node offers no way to change keys: a channel
 * that has sent so much ends, 256 GiB at most, and its link opens another. The same for what is received, which the peer counts.
 */
const recordsMaxDefault = 2 ** 24;
/** How long what was sent last may take to leave after dispose. */
const goodbyeMs = 1000;

/** What a channel is made of: an established TLS socket, whose peer was checked, on `raw`. It owns both from now on. */
export interface TlsChannelParts {
  readonly socket: TLSSocket;
  /** Counts what is really on the wire. */
  readonly raw: Socket;
  readonly peer: Peer;
  readonly clock?: Clock;
  /** For tests: records sent before the channel ends. */
  readonly recordsMax?: number;
}

/** A channel that can also be cut by its owner, with a reason that `closed` then gives. */
export interface TlsChannel extends Channel {
  cut(fault: Fault): void;
}

/**
 * Wraps an established TLS socket as a channel.
 *
 *   open ──dispose──▶ saying goodbye (bounded) ──▶ closed(null)
 *     └── peer ends, error, cut ──────────────────▶ closed(fault)
 */
export function tlsChannel(parts: TlsChannelParts): TlsChannel {
  return new SocketChannel(parts);
}

class SocketChannel implements TlsChannel {
  readonly peer: Peer;
  readonly closed: Promise<Fault | null>;
  readonly #socket: TLSSocket;
  readonly #raw: Socket;
  readonly #clock: Clock;
  readonly #close: (reason: Fault | null) => void;
  #isOver = false;
  #isDisposed = false;
  #take: ((bytes: Uint8Array) => Promise<void> | null) | null = null;
  #isTaking = false;
  /** Decrypted before the socket stopped reading: at most what one read of the kernel brought. */
  readonly #kept: Uint8Array[] = [];
  readonly #recordsMax: number;
  #unsentBytes = 0;
  #records = 0;
  #waiting: PromiseWithResolvers<void>[] = [];

  constructor({ socket, raw, peer, clock, recordsMax }: TlsChannelParts) {
    this.#recordsMax = recordsMax ?? recordsMaxDefault;
    this.peer = peer;
    this.#socket = socket;
    this.#raw = raw;
    this.#clock = clock ?? systemClock();
    const { promise, resolve } = Promise.withResolvers<Fault | null>();
    this.closed = promise;
    this.#close = resolve;
    socket.on("error", (error) => this.#end(this.#lost(error)));
    socket.on("end", () => this.#end(this.#lost(null)));
    socket.on("close", () => this.#end(this.#lost(null)));
  }

  get sentBytes(): number {
    return this.#raw.bytesWritten;
  }

  get receivedBytes(): number {
    return this.#raw.bytesRead;
  }

  send(parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isOver || this.#isDisposed) return Promise.reject(this.#lost(null));
    for (const bytes of joined(parts)) this.#write(bytes);
    if (this.#records > this.#recordsMax) this.#end(this.#usedUp());
    if (this.#unsentBytes < unsentBytesMax || this.#isOver) return Promise.resolve();
    const room = Promise.withResolvers<void>();
    this.#waiting.push(room);
    return room.promise;
  }

  receive(
    take: (bytes: Uint8Array) => Promise<void> | null,
    options: { readonly isBorrowed?: boolean } = {},
  ): void {
    assert(this.#take === null, "receive is called once");
    this.#take = take;
    const socket = this.#socket;
    for (let early = socket.read(); early !== null; early = socket.read()) this.#deliver(early);
    const lender = options.isBorrowed === true ? this.#borrowing() : this.#givingAway();
    if (!lendReads(socket, lender)) {
      socket.on("data", (bytes: Uint8Array) => this.#deliver(bytes) || socket.pause());
    }
    if (!this.#isTaking) socket.resume();
  }

  cut(fault: Fault): void {
    this.#end(fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isDisposed = true;
    const left = new AbortController();
    // What was queued leaves, then the socket is gone: nobody waits for the peer to say goodbye too.
    this.#socket.end(() => left.abort());
    this.#socket.once("close", () => left.abort());
    this.#socket.resume();
    await this.#clock.sleep(goodbyeMs, { signal: left.signal }).catch(() => {}); // It left in time.
    this.#end(null);
    await this.closed;
  }

  /** One buffer for all reads, but while it is being taken. */
  #borrowing(): Lender {
    const own = Buffer.allocUnsafeSlow(recordBytesMax);
    return {
      lend: () => (this.#isTaking ? Buffer.allocUnsafeSlow(recordBytesMax) : own),
      landed: (lengthBytes, lent) => this.#deliver(lent.subarray(0, lengthBytes)),
    };
  }

  #givingAway(): Lender {
    const slabs = new SlabLender();
    return {
      lend: () => slabs.lend(),
      landed: (lengthBytes, lent) => {
        slabs.used(lengthBytes);
        return this.#deliver(lent.subarray(0, lengthBytes));
      },
    };
  }

  /** Hands bytes over, or keeps them while the last are being taken; returns whether to go on reading. */
  #deliver(bytes: Uint8Array): boolean {
    if (this.#isOver || this.#take === null) return false;
    // We said goodbye: what still comes is read to see the other side's end, and nobody wants it.
    if (this.#isDisposed) return true;
    if (this.#isTaking) {
      this.#kept.push(bytes);
      return false;
    }
    const taken = this.#take(bytes);
    if (taken === null) return true;
    this.#isTaking = true;
    taken.then(
      () => this.#goOn(),
      (error: unknown) => this.#end(this.#lost(error)),
    );
    return false;
  }

  #goOn(): void {
    this.#isTaking = false;
    while (!this.#isTaking) {
      const bytes = this.#kept.shift();
      if (bytes === undefined) break;
      this.#deliver(bytes);
    }
    if (!this.#isTaking && !this.#isOver) this.#socket.resume();
  }

  #write(bytes: Uint8Array): void {
    this.#records += Math.ceil(bytes.length / recordBytesMax);
    this.#unsentBytes += bytes.length;
    this.#socket.write(bytes, () => {
      this.#unsentBytes -= bytes.length;
      if (this.#waiting.length === 0 || this.#unsentBytes >= unsentBytesMax) return;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const { resolve } of waiting) resolve();
    });
  }

  #end(reason: Fault | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.destroy();
    this.#raw.destroy();
    for (const { reject } of this.#waiting) reject(reason ?? this.#lost(null));
    this.#waiting = [];
    this.#close(this.#isDisposed ? null : reason);
  }

  #usedUp(): Fault {
    const { name, address } = this.peer;
    const message = `the connection with ${name} sent as much as one key may protect`;
    return new Fault("LINK_LOST", message, { address, records: this.#records });
  }

  #lost(cause: unknown): Fault {
    const { address } = this.peer;
    const details = { address, receivedBytes: this.#socket.bytesRead };
    // A vault that refuses us says nothing: that must not look like a broken cable to whoever reads this.
    const silence =
      this.peer.role === "vault" && this.#socket.bytesRead === 0
        ? " before it said anything; its log names the reason if it refused us"
        : "";
    const message = `the connection with ${this.peer.role} ${this.peer.name} ended${silence}`;
    return new Fault("LINK_LOST", message, details, cause === null ? {} : { cause });
  }
}

/** The parts with small neighbours joined into one; large ones as they are, never copied. */
function joined(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  const whole: Uint8Array[] = [];
  let small: Uint8Array[] = [];
  const flush = () => {
    if (small.length > 0) whole.push(small.length === 1 ? small[0]! : Buffer.concat(small));
    small = [];
  };
  for (const part of parts) {
    if (part.length === 0) continue;
    if (part.length < joinedPartBytesMax) {
      small.push(part);
      continue;
    }
    flush();
    whole.push(part);
  }
  flush();
  return whole;
}

import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { Channel, Peer } from "../core/channel.ts";
import { decodePing, encodePong } from "../format/wire-control.ts";
import {
  encodeFrameHeader,
  type FrameHeader,
  type FrameType,
  wireFault,
} from "../format/wire-frame.ts";
import { decodeHello, encodeGoodbye, type Hello } from "../format/wire-hello.ts";
import { FrameReader } from "./frame-reader.ts";
import { Outbox } from "./outbox.ts";
import type { Room } from "./receive-memory.ts";
import type { ReceiverBounds } from "./receiver-bounds.ts";

/** Calls up to here are taken without asking for memory. */
const smallBodyBytesMax = 64 * 1024;

/** The session that a channel has joined. */
export interface ChannelSession {
  /** Memory for a long body; throws LINK_PROTOCOL when the session may not have it. */
  roomFor(channel: ReceiverChannel, header: FrameHeader): Room | Promise<Room>;
  /** `body` is the channel's own until this returns, unless `room` comes along, which is to be released. */
  onFrame(
    channel: ReceiverChannel,
    header: FrameHeader,
    body: Uint8Array,
    room: Room | null,
  ): Promise<void> | null;
}

/**
 * One channel at the vault's end.
 *
 *   silent ──hello──▶ joined ──end, garbage, silence, resumed elsewhere──▶ over
 *      └─────no hello in time, garbage, refused────────────────────────────▶
 */
export class ReceiverChannel {
  /** As its sender counts it; meaningless before the hello. */
  number = 0;
  heardAtMs: number;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #bounds: ReceiverBounds;
  readonly #join: (channel: ReceiverChannel, hello: Hello) => ChannelSession;
  readonly #outbox: Outbox;
  readonly #over = new AbortController();
  #session: ChannelSession | null = null;
  #room: Room | null = null;
  /** Whoever does not take its answers is not read. */
  #unread: PromiseWithResolvers<void> | null = null;
  #fault: Fault | null = null;

  constructor(options: {
    readonly channel: Channel;
    readonly clock: Clock;
    readonly bounds: ReceiverBounds;
    /** Throws to refuse. */
    readonly join: (channel: ReceiverChannel, hello: Hello) => ChannelSession;
  }) {
    this.#channel = options.channel;
    this.#clock = options.clock;
    this.#bounds = options.bounds;
    this.#join = options.join;
    this.#outbox = new Outbox(options.channel, () => this.#read());
    this.#over.signal.addEventListener("abort", () => this.#read(), { once: true });
    this.heardAtMs = this.#clock.monotonicMs();
    const reader = new FrameReader({
      roomFor: (header) => this.#roomFor(header),
      takesViews: ({ type, bodyLengthBytes }) =>
        type !== "chunk" && bodyLengthBytes <= smallBodyBytesMax,
      frame: (header, body) => this.#onFrame(header, body),
    });
    this.#channel.receive((bytes) => this.#take(reader, bytes), { isBorrowed: true });
    void this.#channel.closed.then((fault) => {
      this.#fault ??= fault;
      this.#over.abort();
      this.#room?.release();
      this.#room = null;
    });
    void this.#watchSilence();
  }

  get peer(): Peer {
    return this.#channel.peer;
  }

  /** Aborts when the channel is over. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get isOpen(): boolean {
    return !this.#over.signal.aborted;
  }

  /** Resolves when the channel is over, with why; null after an orderly end. */
  get closed(): Promise<Fault | null> {
    return this.#channel.closed.then(() => this.#fault);
  }

  send(
    type: FrameType,
    body: Uint8Array,
    about: { readonly request?: number; readonly stream?: number } = {},
  ): void {
    if (!this.isOpen) return;
    const header = encodeFrameHeader({ type, bodyLengthBytes: body.length, ...about });
    this.#outbox.push([header, body]);
  }

  /** Nothing that arrives is read any more; with a fault the peer is told its code, and nothing of why. */
  end(fault: Fault | null): void {
    if (!this.isOpen) return;
    this.#fault ??= fault;
    if (fault !== null) this.send("goodbye", encodeGoodbye(lastWords(fault)));
    this.#over.abort();
    this.#room?.release();
    this.#room = null;
    // The last words are given to the channel before it is disposed of.
    void Promise.resolve()
      .then(() => null)
      .then(() => this.#channel[Symbol.asyncDispose]());
  }

  #take(reader: FrameReader, bytes: Uint8Array): Promise<void> | null {
    if (!this.isOpen) return null;
    this.heardAtMs = this.#clock.monotonicMs();
    try {
      return reader.take(bytes)?.catch((error: unknown) => this.#failed(error)) ?? null;
    } catch (error) {
      this.#failed(error);
      return null;
    }
  }

  #failed(error: unknown): void {
    if (!isFault(error)) throw error;
    this.end(error);
  }

  #roomFor(header: FrameHeader): Uint8Array | Promise<Uint8Array> {
    if (this.#session === null) {
      if (header.type !== "hello") throw wireFault(`a ${header.type} before the hello`);
      return new Uint8Array(header.bodyLengthBytes);
    }
    if (header.type !== "chunk" && header.bodyLengthBytes <= smallBodyBytesMax) {
      return new Uint8Array(header.bodyLengthBytes);
    }
    const room = this.#session.roomFor(this, header);
    if (room instanceof Promise) return room.then((found) => this.#keepRoom(found));
    return this.#keepRoom(room);
  }

  #keepRoom(room: Room): Uint8Array {
    if (!this.isOpen) room.release();
    else this.#room = room;
    return room.bytes;
  }

  #onFrame(header: FrameHeader, body: Uint8Array): Promise<void> | null {
    const room = this.#room;
    this.#room = null;
    if (!this.isOpen) {
      room?.release();
      return null;
    }
    if (this.#session === null) {
      if (header.type !== "hello") throw wireFault(`a ${header.type} before the hello`);
      this.#session = this.#join(this, decodeHello(body));
      return null;
    }
    if (header.type === "ping") {
      const { number, sentAtMs } = decodePing(body);
      const nowMs = this.#clock.nowMs();
      const pong = encodePong({ number, sentAtMs, receivedAtMs: nowMs, answeredAtMs: nowMs });
      this.send("pong", pong);
    }
    return this.#session.onFrame(this, header, body, room) ?? this.#untilRoom();
  }

  /** Null while what is to be sent leaves; else until it did, or the channel is over. */
  #untilRoom(): Promise<void> | null {
    if (this.#outbox.hasRoom || !this.isOpen) return null;
    this.#unread ??= Promise.withResolvers();
    return this.#unread.promise;
  }

  #read(): void {
    this.#unread?.resolve();
    this.#unread = null;
  }

  async #watchSilence(): Promise<void> {
    const { signal } = this.#over;
    const { helloMsMax, silenceMsMax } = this.#bounds;
    const beganAtMs = this.heardAtMs;
    while (!signal.aborted) {
      const nowMs = this.#clock.monotonicMs();
      // Bytes that are no hello do not count as a sign of life.
      const sinceMs = this.#session === null ? beganAtMs : this.heardAtMs;
      const leftMs = sinceMs + (this.#session === null ? helloMsMax : silenceMsMax) - nowMs;
      if (leftMs <= 0) {
        this.end(new Fault("LINK_LOST", "the peer said nothing for too long"));
        return;
      }
      await this.#clock.sleep(leftMs, { signal }).catch(() => {}); // The loop looks at the signal.
    }
  }
}

/** A stranger learns what he did wrong by code alone. */
function lastWords({ code, message }: Fault): { code: string; message: string } {
  return { code, message: code === "LINK_VERSION" ? message.slice(0, 1000) : "" };
}

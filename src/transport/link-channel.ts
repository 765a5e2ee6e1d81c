import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { Channel } from "../core/channel.ts";
import { decodePong, encodePing } from "../format/wire-control.ts";
import { encodeFrameHeader, type FrameHeader, wireFault } from "../format/wire-frame.ts";
import type { Welcome } from "../format/wire-hello.ts";
import { decodeGoodbye, decodeWelcome, encodeHello, type Hello } from "../format/wire-hello.ts";
import { FrameReader } from "./frame-reader.ts";
import type { LinkBounds } from "./link-bounds.ts";
import { Outbox } from "./outbox.ts";

/** What a channel tells the session it belongs to. */
export interface LinkChannelOwner {
  /** A frame other than welcome, goodbye and pong; throws LINK_PROTOCOL to end the channel. */
  onFrame(channel: LinkChannel, header: FrameHeader, body: Uint8Array): void;
  onRoom(): void;
  onPong(sample: {
    readonly sentAtMs: number;
    readonly receivedAtMs: number;
    readonly answeredAtMs: number;
    readonly roundTripMs: number;
    readonly atMs: number;
  }): void;
  /** All answers below have arrived. */
  watermark(): number;
  /** Nothing came although it should have, at the rate that was measured. */
  onSilent(): void;
  /** How long what is unanswered on the channel may take at the rate that was measured. */
  slownessMs(outstandingBytes: number): number;
}

/**
 * One channel at the sender's end.
 *
 *   hello sent ──welcome──▶ open ──end, goodbye, garbage, silence──▶ over
 *        └────────goodbye, garbage, no welcome in time───────────────▶
 */
export class LinkChannel {
  /** Of the session's channels; never used twice. */
  readonly number: number;
  /** Its place among the link's channels; the first is for small requests. */
  readonly slot: number;
  /** Bytes of frames sent and not answered. */
  outstandingBytes = 0;
  outstandingRequests = 0;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #bounds: LinkBounds;
  readonly #owner: LinkChannelOwner;
  readonly #outbox: Outbox;
  readonly #welcome = Promise.withResolvers<Welcome>();
  readonly #ended = new AbortController();
  readonly #pings = new Map<number, { readonly atMs: number; readonly wallMs: number }>();
  #isOpen = false;
  #fault: Fault | null = null;
  #pingNumber = 0;
  #heardAtMs: number;
  #pingedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly number: number;
    readonly slot: number;
    readonly channel: Channel;
    readonly clock: Clock;
    readonly bounds: LinkBounds;
    readonly owner: LinkChannelOwner;
  }) {
    this.number = options.number;
    this.slot = options.slot;
    this.#channel = options.channel;
    this.#clock = options.clock;
    this.#bounds = options.bounds;
    this.#owner = options.owner;
    this.#outbox = new Outbox(options.channel, () => this.#owner.onRoom());
    this.#heardAtMs = this.#clock.monotonicMs();
    this.#welcome.promise.catch(() => {}); // `join` may have been given up.
    const reader = new FrameReader({
      roomFor: ({ bodyLengthBytes }) => new Uint8Array(bodyLengthBytes),
      takesViews: ({ type }) => type !== "answer" && type !== "answerBytes",
      frame: (header, body) => this.#onFrame(header, body),
    });
    this.#channel.receive((bytes) => this.#take(reader, bytes), { isBorrowed: true });
    void this.#channel.closed.then((fault) => {
      this.#isOpen = false;
      this.#fault ??= fault;
      this.#welcome.reject(this.#fault ?? new Fault("LINK_LOST", "the channel was closed"));
      this.#ended.abort();
    });
  }

  /** Resolves when the channel is over, with why; null after `close`. */
  get closed(): Promise<Fault | null> {
    return this.#channel.closed.then(() => this.#fault);
  }

  get peer() {
    return this.#channel.peer;
  }

  get sentBytes(): number {
    return this.#channel.sentBytes;
  }

  get receivedBytes(): number {
    return this.#channel.receivedBytes;
  }

  /** Whether a chunk may be pushed. */
  get hasRoom(): boolean {
    return this.#isOpen && this.#outbox.hasRoom;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Introduces us. Rejects with the vault's refusal, LINK_LOST or LINK_PROTOCOL; the channel is over then. */
  async join(hello: Hello): Promise<Welcome> {
    const body = encodeHello(hello);
    this.#push("hello", body);
    const timer = this.#clock.sleep(this.#bounds.welcomeMsMax, { signal: this.#ended.signal });
    void timer.then(
      () => {
        if (!this.#isOpen) this.end(new Fault("LINK_LOST", "the vault did not answer in time"));
      },
      () => {},
    );
    return await this.#welcome.promise;
  }

  /** From now on frames may be pushed, and silence is noticed. */
  open(): void {
    if (this.#ended.signal.aborted) return;
    this.#isOpen = true;
    void this.#keep();
  }

  push(parts: readonly Uint8Array[]): void {
    this.#outbox.push(parts);
  }

  /** Ends the channel; everything else about it follows from `closed`. */
  end(fault: Fault | null): void {
    this.#isOpen = false;
    this.#fault ??= fault;
    void this.#channel[Symbol.asyncDispose]();
  }

  #push(type: "hello" | "ping", body: Uint8Array): void {
    const watermark = this.#owner.watermark();
    const header = encodeFrameHeader({ type, bodyLengthBytes: body.length, watermark });
    this.#outbox.push([header, body]);
  }

  #take(reader: FrameReader, bytes: Uint8Array): Promise<void> | null {
    if (this.#fault !== null) return null;
    this.#heardAtMs = this.#clock.monotonicMs();
    try {
      return reader.take(bytes);
    } catch (error) {
      if (!isFault(error)) throw error;
      this.end(error);
      return null;
    }
  }

  #onFrame(header: FrameHeader, body: Uint8Array): null {
    if (header.type === "goodbye") {
      const { code, message } = decodeGoodbye(body);
      throw goodbyeFault(code, message);
    }
    if (header.type === "welcome") {
      if (this.#isOpen) throw wireFault("a second welcome");
      this.#welcome.resolve(decodeWelcome(body));
    } else if (header.type === "pong") this.#onPong(body);
    else this.#owner.onFrame(this, header, body);
    return null;
  }

  #onPong(body: Uint8Array): void {
    const pong = decodePong(body);
    const ping = this.#pings.get(pong.number);
    if (ping === undefined) throw wireFault("an answer to no ping");
    this.#pings.delete(pong.number);
    const atMs = this.#clock.monotonicMs();
    this.#owner.onPong({
      sentAtMs: ping.wallMs,
      receivedAtMs: pong.receivedAtMs,
      answeredAtMs: pong.answeredAtMs,
      roundTripMs: atMs - ping.atMs,
      atMs,
    });
  }

  #ping(): void {
    const atMs = this.#clock.monotonicMs();
    const wallMs = this.#clock.nowMs();
    this.#pingNumber += 1;
    this.#pings.set(this.#pingNumber, { atMs, wallMs });
    this.#pingedAtMs = atMs;
    this.#push("ping", encodePing({ number: this.#pingNumber, sentAtMs: wallMs }));
  }

  /** Pings when due, and ends the channel when it brings nothing although it owes an answer. */
  async #keep(): Promise<void> {
    const { signal } = this.#ended;
    const { pingEveryMs, pingOthersEveryMs, quietMs, pongMsMax } = this.#bounds;
    const everyMs = this.slot === 0 ? pingEveryMs : pingOthersEveryMs;
    while (!signal.aborted) {
      const nowMs = this.#clock.monotonicMs();
      const quietSinceMs = nowMs - this.#heardAtMs;
      if (this.#pings.size > 0) {
        const oweSinceMs = nowMs - Math.max(this.#heardAtMs, this.#firstPingAtMs());
        const boundMs = pongMsMax + this.#owner.slownessMs(this.outstandingBytes);
        if (oweSinceMs >= boundMs) {
          this.#owner.onSilent();
          this.end(new Fault("LINK_LOST", "the channel went silent", { silentMs: quietSinceMs }));
          return;
        }
      } else {
        const isOwed = this.outstandingRequests > 0 && quietSinceMs >= quietMs;
        if (isOwed || nowMs - this.#pingedAtMs >= everyMs) this.#ping();
      }
      const isBusy = this.#pings.size > 0 || this.outstandingRequests > 0;
      const sleepMs = isBusy ? Math.min(1000, pingEveryMs) : pingEveryMs;
      await this.#clock.sleep(sleepMs, { signal }).catch(() => {}); // The loop looks at the signal.
    }
  }

  #firstPingAtMs(): number {
    const [first] = this.#pings.values();
    return first?.atMs ?? 0;
  }
}

function goodbyeFault(code: string, message: string): Fault {
  const known = ["LINK_VERSION", "PEER_REFUSED", "LINK_PROTOCOL", "LINK_LOST"] as const;
  const found = known.find((at) => at === code) ?? "LINK_LOST";
  return new Fault(found, `the vault ended the channel: ${message}`);
}

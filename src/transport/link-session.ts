import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import type { GroupName } from "../core/ids.ts";
import { decodeFault } from "../format/wire-answers.ts";
import { encodeReceived } from "../format/wire-control.ts";
import { encodeFrameHeader, type FrameHeader, wireFault } from "../format/wire-frame.ts";
import { decodeGrant, type Grant, type Hello, type Welcome } from "../format/wire-hello.ts";
import {
  callsOutstandingMax,
  requestsOutstandingMax,
  sessionIdLengthBytes,
  type WireVersions,
} from "../format/wire-limits.ts";
import { ChannelSet } from "./channel-set.ts";
import { FairQueue } from "./fair-queue.ts";
import type { LinkCaps } from "./link.ts";
import type { LinkBounds } from "./link-bounds.ts";
import type { LinkChannel } from "./link-channel.ts";
import { frameOf, type Outgoing, type OutgoingStream } from "./outgoing.ts";
import { Outstanding } from "./outstanding.ts";
import { RateMeter } from "./rate-meter.ts";
import { Resumption } from "./resumption.ts";
import { SendWindow } from "./send-window.ts";
import { type SentBytes, SentCounts } from "./sent-counts.ts";
import { StreamTable } from "./stream-table.ts";

/** Slowness excuses a stream for so long at most; then its points are better off in a spool. */
const slownessMsMax = 60_000;

/**
 * The sender's requests, each executed once by the vault however often channels end.
 *
 *   waiting ──a channel, credit, caps──▶ sent ──answer──▶ done
 *                  ▲                      │ its channel ends
 *                  │                      ▼
 *                  └──the vault lacks it── orphan ──the vault has it──▶ sent
 *
 * `down` and `reset` give up everything at once; streams of before are dead then.
 */
export class LinkSession {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly bounds: LinkBounds;
  readonly #versions: WireVersions;
  readonly #roundTripMs: () => number | null;
  readonly #queue: FairQueue;
  readonly #window: SendWindow;
  readonly #rate = new RateMeter();
  readonly #channels = new ChannelSet();
  readonly #outstanding = new Outstanding();
  readonly #streams: StreamTable;
  readonly sent = new SentCounts();
  readonly #resumption = new Resumption(this.#outstanding);
  /** Calls that found no channel. */
  #calls: Outgoing[] = [];
  #id: string;
  #life: string | null = null;
  #isUp = false;
  #nextChannel = 1;
  #callsOutstanding = 0;
  #isPumping = false;
  #capWait: { readonly dueMs: number; readonly timer: AbortController } | null = null;
  #isWatching = false;

  constructor(options: {
    readonly clock: Clock;
    readonly prng: Prng;
    readonly bounds: LinkBounds;
    readonly versions: WireVersions;
    readonly roundTripMs: () => number | null;
  }) {
    this.#clock = options.clock;
    this.#prng = options.prng;
    this.bounds = options.bounds;
    this.#versions = options.versions;
    this.#roundTripMs = options.roundTripMs;
    this.#queue = new FairQueue(options.clock);
    this.#streams = new StreamTable(this.#outstanding, this.#queue);
    this.#window = new SendWindow(options.bounds.windowBytesMin);
    this.#id = randomHex(options.prng, sessionIdLengthBytes);
  }

  get id(): string {
    return this.#id;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Whether the vault knows the session, so that more channels may join it. */
  get isJoined(): boolean {
    return this.#life !== null;
  }

  get bytesPerSecond(): number | null {
    return this.#rate.bytesPerSecond;
  }

  counts(group: GroupName): SentBytes & { readonly waitingBytes: number } {
    return { ...this.sent.of(group), waitingBytes: this.#queue.waitingBytes(group) };
  }

  setCaps(caps: LinkCaps): void {
    this.#queue.setCaps(caps);
    this.pump();
  }

  nextChannelNumber(): number {
    return this.#nextChannel++;
  }

  hello(channel: number): Hello {
    return { versions: this.#versions, session: this.#id, life: this.#life, channel };
  }

  /**
   * A channel was welcomed. False when it joined a session that was given up meanwhile. A vault that began anew gives up what
   * was under way: the faults of it are LINK_RESET.
   */
  joined(channel: LinkChannel, hello: Hello, welcome: Welcome): "joined" | "reset" | "stale" {
    if (hello.session !== this.#id) return "stale";
    const isReset = this.#life !== null && welcome.life !== this.#life;
    const isForgotten = welcome.isNew && hello.life !== null;
    const reset = isReset || isForgotten;
    if (reset) this.#giveUp(new Fault("LINK_RESET", "the vault began anew"), channel);
    this.#life = welcome.life;
    this.#isUp = true;
    this.#channels.add(channel);
    this.#window.setGrant(welcome.grant);
    channel.open();
    this.#resume(channel);
    this.pump();
    return reset ? "reset" : "joined";
  }

  /** A channel that had joined is over: what it owed is asked for on another. */
  left(channel: LinkChannel): void {
    if (!this.#channels.delete(channel)) return;
    this.#resumption.lost(channel);
    const other = this.#channels.forCalls();
    if (other !== null) this.#resume(other);
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  /** No channel for too long: everything under way rejects with `fault`, and the next channel begins a new session. */
  down(fault: Fault): void {
    this.#isUp = false;
    this.#giveUp(fault, null);
    this.#id = randomHex(this.#prng, sessionIdLengthBytes);
    this.#life = null;
  }

  openStream(group: GroupName): OutgoingStream {
    return this.#streams.open(group);
  }

  /** Nothing more will be asked of it. */
  forget(stream: OutgoingStream): void {
    this.#streams.forget(stream);
  }

  /** Puts a request on its way, or rejects it at once when the link is down or its stream dead. */
  send(request: Outgoing): void {
    const fault = request.stream?.fault ?? this.#downFault();
    if (fault !== null) {
      request.reject(fault);
      return;
    }
    if (request.type === "chunk") this.#queue.push(request);
    else this.#calls.push(request);
    this.pump();
    void this.#watch();
  }

  /** All answers below have arrived. */
  watermark(): number {
    return this.#outstanding.watermark;
  }

  slownessMs(outstandingBytes: number): number {
    return this.#rate.slownessMs(outstandingBytes);
  }

  /** What was measured before does not hold: the link may have become slow. */
  distrustRate(): void {
    this.#rate.forget();
  }

  onFrame(channel: LinkChannel, header: FrameHeader, body: Uint8Array): void {
    switch (header.type) {
      case "answer":
      case "answerBytes":
        this.#onAnswer(header.request, (request) => request.resolve(body));
        break;
      case "fault": {
        const fault = decodeFault(body);
        this.#onAnswer(header.request, (request) => request.reject(fault));
        break;
      }
      case "standing":
        this.#onStanding(header.request, channel, body);
        break;
      case "grant":
        this.#onGrant(decodeGrant(body));
        break;
      default:
        throw wireFault(`a vault does not send a ${header.type}`);
    }
  }

  /** Gives to channels what may go now. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      this.#pumpCalls();
      this.#pumpChunks();
    } finally {
      this.#isPumping = false;
    }
    this.#waitForCap();
  }

  #pumpCalls(): void {
    const channel = this.#channels.forCalls();
    if (channel === null || this.#calls.length === 0) return;
    const room = callsOutstandingMax - this.#callsOutstanding;
    // Those that are sent again stand first, and have their places already.
    const again = this.#calls.filter(({ number }) => number !== 0).length;
    const calls = this.#calls.splice(0, Math.max(room, again));
    for (const request of calls) {
      this.#queue.spend(request.group, request.lengthBytes);
      this.#give(request, channel);
    }
  }

  #pumpChunks(): void {
    const mayGo = (request: Outgoing): boolean =>
      request.number !== 0 ||
      this.#window.mayGo(request.lengthBytes, request.stream?.outstandingBytes ?? 0);
    while (!this.#queue.isEmpty && this.#outstanding.size < requestsOutstandingMax / 2) {
      const channel = this.#channels.forChunks(this.#rate.isSlow);
      if (channel === null) return;
      const request = this.#queue.take(mayGo);
      if (request === null) return;
      this.#give(request, channel);
    }
  }

  #waitForCap(): void {
    const { waitMs, isEmpty } = this.#queue;
    if (isEmpty || waitMs === 0 || !Number.isFinite(waitMs)) return;
    const dueMs = this.#clock.monotonicMs() + waitMs;
    // A cap that was raised meanwhile is due earlier than what is waited for.
    if (this.#capWait !== null && this.#capWait.dueMs <= dueMs) return;
    this.#capWait?.timer.abort();
    const timer = new AbortController();
    this.#capWait = { dueMs, timer };
    void this.#clock.sleep(waitMs, { signal: timer.signal }).then(
      () => {
        this.#capWait = null;
        this.pump();
      },
      () => {}, // Another took its place.
    );
  }

  #give(request: Outgoing, channel: LinkChannel): void {
    const nowMs = this.#clock.monotonicMs();
    const { stream, lengthBytes } = request;
    if (request.number === 0) {
      this.#outstanding.add(request);
      if (request.type === "call") this.#callsOutstanding += 1;
      else {
        this.#rate.busy(nowMs);
        this.#window.outstandingBytes += lengthBytes;
        if (stream !== null) {
          if (stream.outstandingBytes === 0) stream.progressAtMs = nowMs;
          stream.outstandingBytes += lengthBytes;
        }
        this.sent.of(request.group).wireBytes += lengthBytes;
      }
    } else {
      this.sent.resent(request.group, lengthBytes);
    }
    request.sentAtMs = nowMs;
    this.#outstanding.owe(request, channel);
    channel.push(frameOf(request, this.watermark()));
    request.onSent?.();
  }

  #onAnswer(number: number, settle: (request: Outgoing) => void): void {
    const request = this.#outstanding.get(number);
    if (request === undefined) return; // The answer came before, on another channel.
    this.#settled(request);
    settle(request);
    this.#confirm();
    this.pump();
  }

  /** Takes a request out of all accounts. */
  #settled(request: Outgoing): void {
    const nowMs = this.#clock.monotonicMs();
    const { stream, lengthBytes } = request;
    this.#outstanding.remove(request);
    request.body = null;
    if (request.type === "call") {
      this.#callsOutstanding -= 1;
      return;
    }
    this.#window.outstandingBytes -= lengthBytes;
    if (stream !== null) {
      stream.outstandingBytes -= lengthBytes;
      stream.progressAtMs = nowMs;
    }
    this.#rate.acknowledged(nowMs, lengthBytes, this.#window.outstandingBytes === 0);
    this.#window.adapt(this.#rate.bytesPerSecond, this.#roundTripMs());
  }

  /** Lets the vault forget answers that arrived out of order, when there are many. */
  #confirm(): void {
    const channel = this.#channels.forCalls();
    const ranges = channel === null ? null : this.#outstanding.takeConfirmations();
    if (channel === null || ranges === null) return;
    this.#pushControl(channel, "received", encodeReceived(ranges));
  }

  #resume(channel: LinkChannel): void {
    const asked = this.#resumption.ask(channel);
    if (asked !== null) this.#pushControl(channel, "resume", asked.body, asked.serial);
  }

  #onStanding(serial: number, channel: LinkChannel, states: Uint8Array): void {
    const lacking = this.#resumption.answered(serial, channel, states);
    // From the last to the first, so that each put before the others ends in the first order.
    for (const request of lacking.toReversed()) {
      if (request.body === null) this.#settled(request);
      else if (request.type === "chunk") this.#queue.pushFirst(request);
      else this.#calls.unshift(request);
    }
    this.pump();
  }

  #onGrant(grant: Grant): void {
    this.#window.setGrant(grant);
    this.pump();
  }

  #pushControl(
    channel: LinkChannel,
    type: "received" | "resume",
    body: Uint8Array,
    request = 0,
  ): void {
    const watermark = this.watermark();
    const header = encodeFrameHeader({ type, bodyLengthBytes: body.length, request, watermark });
    channel.push([header, body]);
  }

  #giveUp(fault: Fault, except: LinkChannel | null): void {
    this.#streams.giveUpAll(fault);
    const waiting = this.#queue.remove(() => true);
    const all = new Set([...this.#outstanding.clear(), ...this.#calls, ...waiting]);
    this.#calls = [];
    this.#resumption.clear();
    this.#capWait?.timer.abort();
    this.#capWait = null;
    this.#window.outstandingBytes = 0;
    this.#callsOutstanding = 0;
    this.#rate.interrupt();
    for (const channel of this.#channels.clear()) if (channel !== except) channel.end(fault);
    for (const request of all) {
      request.body = null;
      request.reject(fault);
    }
  }

  #downFault(): Fault | null {
    return this.#isUp ? null : new Fault("LINK_LOST", "the link to the vault is down");
  }

  /** While anything is owed, looks each second for what was owed too long. */
  async #watch(): Promise<void> {
    if (this.#isWatching) return;
    this.#isWatching = true;
    while (this.#outstanding.size > 0 || this.#calls.length > 0 || !this.#queue.isEmpty) {
      await this.#clock.sleep(1000);
      const slownessMs = Math.min(slownessMsMax, this.slownessMs(this.#window.outstandingBytes));
      const stalledMs = this.bounds.stalledAfterMs + slownessMs;
      const nowMs = this.#clock.monotonicMs();
      for (const lacking of this.#streams.giveUpStalled(nowMs, stalledMs)) this.#settled(lacking);
    }
    this.#isWatching = false;
  }
}

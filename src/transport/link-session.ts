import assert from "node:assert/strict";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import type { GroupName } from "../core/ids.ts";
import { decodeFault } from "../format/wire-answers.ts";
import { encodeReceived, encodeResume, type RequestRange } from "../format/wire-control.ts";
import { encodeFrameHeader, type FrameHeader, wireFault } from "../format/wire-frame.ts";
import { decodeGrant, type Grant, type Hello, type Welcome } from "../format/wire-hello.ts";
import {
  receivedRangesMax,
  requestsOutstandingMax,
  resumeChannelsMax,
  sessionIdLengthBytes,
  type WireVersions,
} from "../format/wire-limits.ts";
import { FairQueue } from "./fair-queue.ts";
import type { LinkCaps } from "./link.ts";
import type { LinkBounds } from "./link-bounds.ts";
import type { LinkChannel } from "./link-channel.ts";
import { frameOf, type Outgoing, type OutgoingStream } from "./outgoing.ts";
import { RateMeter } from "./rate-meter.ts";
import { SendWindow } from "./send-window.ts";

/** The vault is told which answers arrived, beyond the watermark, each time there are so many. */
const receivedEvery = 256;
/** Slower than this no link is taken to be: how long to wait for what is under way before a rate was measured. */
const slowestBytesPerSecond = 64 * 1024;

/** Counters of one group. */
export interface SentCounts {
  dataBytes: number;
  wireBytes: number;
  resentBytes: number;
}

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
  readonly #channels = new Set<LinkChannel>();
  readonly #outstanding = new Map<number, Outgoing>();
  readonly #streams = new Set<OutgoingStream>();
  readonly #counts = new Map<GroupName, SentCounts>();
  /** Calls that found no channel. */
  #calls: Outgoing[] = [];
  #id: string;
  #life: string | null = null;
  #isUp = false;
  #nextRequest = 1;
  #nextStream = 1;
  #nextChannel = 1;
  #nextResume = 1;
  #deadChannels: number[] = [];
  #resumes = new Map<
    number,
    { readonly channel: LinkChannel; readonly asked: readonly number[] }
  >();
  #unconfirmed = 0;
  #resentBytes = 0;
  #isPumping = false;
  #isWaitingForCap = false;
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

  get resentBytes(): number {
    return this.#resentBytes;
  }

  /** The window and what fills it, in bytes. */
  get window(): { readonly bytes: number; readonly outstandingBytes: number } {
    return { bytes: this.#window.bytes, outstandingBytes: this.#window.outstandingBytes };
  }

  counts(group: GroupName): SentCounts & { readonly waitingBytes: number } {
    return { ...this.#countsOf(group), waitingBytes: this.#queue.waitingBytes(group) };
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
    for (const [serial, resume] of this.#resumes) {
      if (resume.channel === channel) this.#resumes.delete(serial);
    }
    this.#deadChannels.push(channel.number);
    if (this.#deadChannels.length > resumeChannelsMax) this.#deadChannels.shift();
    for (const request of this.#outstanding.values()) {
      if (request.channel === channel) request.channel = null;
    }
    const other = this.#callChannel();
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
    const stream: OutgoingStream = {
      number: this.#nextStream++,
      group,
      outstandingBytes: 0,
      progressAtMs: 0,
      fault: null,
    };
    this.#streams.add(stream);
    return stream;
  }

  /** Nothing more will be asked of it. */
  forget(stream: OutgoingStream): void {
    this.#streams.delete(stream);
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
    const first = this.#outstanding.keys().next();
    return first.done ? this.#nextRequest : first.value;
  }

  slownessMs(outstandingBytes: number): number {
    const rate = Math.max(slowestBytesPerSecond, (this.bytesPerSecond ?? 0) / 2);
    return (outstandingBytes / rate) * 1000;
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
    const channel = this.#callChannel();
    if (channel === null || this.#calls.length === 0) return;
    const calls = this.#calls;
    this.#calls = [];
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
      const channel = this.#chunkChannel();
      if (channel === null) return;
      const request = this.#queue.take(mayGo);
      if (request === null) return;
      this.#give(request, channel);
    }
  }

  #waitForCap(): void {
    if (this.#isWaitingForCap || this.#queue.isEmpty) return;
    const { waitMs } = this.#queue;
    if (waitMs === 0 || !Number.isFinite(waitMs)) return;
    this.#isWaitingForCap = true;
    void this.#clock.sleep(waitMs).then(() => {
      this.#isWaitingForCap = false;
      this.pump();
    });
  }

  #give(request: Outgoing, channel: LinkChannel): void {
    const nowMs = this.#clock.monotonicMs();
    const { stream, lengthBytes } = request;
    if (request.number === 0) {
      request.number = this.#nextRequest;
      this.#nextRequest += 1;
      this.#outstanding.set(request.number, request);
      if (request.type === "chunk") {
        this.#rate.busy(nowMs);
        this.#window.outstandingBytes += lengthBytes;
        if (stream !== null) {
          if (stream.outstandingBytes === 0) stream.progressAtMs = nowMs;
          stream.outstandingBytes += lengthBytes;
        }
        this.#countsOf(request.group).wireBytes += lengthBytes;
      }
    } else {
      this.#resentBytes += lengthBytes;
      this.#countsOf(request.group).resentBytes += lengthBytes;
    }
    request.sentAtMs = nowMs;
    this.#owe(request, channel);
    channel.push(frameOf(request, this.watermark()));
    request.onSent?.();
  }

  /** The answer is to come on `channel`. */
  #owe(request: Outgoing, channel: LinkChannel): void {
    request.channel = channel;
    channel.outstandingRequests += 1;
    channel.outstandingBytes += request.lengthBytes;
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
    const { stream, channel, lengthBytes } = request;
    if (request.number !== this.watermark()) this.#unconfirmed += 1;
    this.#outstanding.delete(request.number);
    request.body = null;
    if (channel !== null) {
      channel.outstandingRequests -= 1;
      channel.outstandingBytes -= lengthBytes;
    }
    if (request.type !== "chunk") return;
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
    if (this.#unconfirmed < receivedEvery) return;
    const channel = this.#callChannel();
    if (channel === null) return;
    this.#unconfirmed = 0;
    const ranges: RequestRange[] = [];
    let from = this.watermark() + 1;
    for (const number of [...this.#outstanding.keys(), this.#nextRequest]) {
      if (number > from && ranges.length < receivedRangesMax) ranges.push({ from, to: number });
      from = number + 1;
    }
    if (ranges.length > 0) this.#pushControl(channel, "received", encodeReceived(ranges));
  }

  #resume(channel: LinkChannel): void {
    const asked: number[] = [];
    for (const request of this.#outstanding.values()) {
      if (request.channel === null) asked.push(request.number);
    }
    if (asked.length === 0) return;
    const serial = this.#nextResume++;
    for (const number of asked) this.#owe(this.#outstanding.get(number)!, channel);
    this.#resumes.set(serial, { channel, asked });
    const body = encodeResume({ channels: this.#deadChannels, requests: asked });
    this.#pushControl(channel, "resume", body, serial);
  }

  #onStanding(serial: number, channel: LinkChannel, states: Uint8Array): void {
    const resume = this.#resumes.get(serial);
    if (resume === undefined || resume.channel !== channel) throw wireFault("an answer unasked");
    if (states.length !== resume.asked.length) throw wireFault("a standing has another length");
    this.#resumes.delete(serial);
    // From the last to the first, so that each put before the others ends in the first order.
    for (const [place, number] of [...resume.asked.entries()].reverse()) {
      const request = this.#outstanding.get(number);
      if (request === undefined || states[place] !== 0) continue;
      this.#disown(request);
      if (request.body === null) this.#settled(request);
      else if (request.type === "chunk") this.#queue.pushFirst(request);
      else this.#calls.unshift(request);
    }
    this.pump();
  }

  /** Its channel owes nothing more for it. */
  #disown(request: Outgoing): void {
    const { channel, lengthBytes } = request;
    if (channel === null) return;
    channel.outstandingRequests -= 1;
    channel.outstandingBytes -= lengthBytes;
    request.channel = null;
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

  /** The lowest of the open channels: chunks go on others when there are others. */
  #callChannel(): LinkChannel | null {
    let found: LinkChannel | null = null;
    for (const channel of this.#channels) {
      if (channel.isOpen && (found === null || channel.slot < found.slot)) found = channel;
    }
    return found;
  }

  #chunkChannel(): LinkChannel | null {
    const forCalls = this.#callChannel();
    let found: LinkChannel | null = null;
    let isAlone = true;
    for (const channel of this.#channels) {
      if (channel === forCalls || !channel.isOpen) continue;
      isAlone = false;
      if (!channel.hasRoom) continue;
      if (found === null || channel.outstandingBytes < found.outstandingBytes) found = channel;
    }
    if (!isAlone) return found;
    return forCalls?.hasRoom ? forCalls : null;
  }

  #giveUp(fault: Fault, except: LinkChannel | null): void {
    for (const stream of this.#streams) stream.fault ??= fault;
    this.#streams.clear();
    const all = [...this.#outstanding.values(), ...this.#calls, ...this.#queue.remove(() => true)];
    this.#calls = [];
    this.#outstanding.clear();
    this.#resumes.clear();
    this.#deadChannels = [];
    this.#unconfirmed = 0;
    this.#window.outstandingBytes = 0;
    this.#rate.interrupt();
    for (const channel of this.#channels) {
      channel.outstandingBytes = 0;
      channel.outstandingRequests = 0;
      if (channel !== except) channel.end(fault);
    }
    this.#channels.clear();
    for (const request of new Set(all)) {
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
      this.#findStalled();
    }
    this.#isWatching = false;
  }

  #findStalled(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const stream of this.#streams) {
      if (stream.outstandingBytes === 0) continue;
      const boundMs = this.bounds.stalledAfterMs + this.slownessMs(this.#window.outstandingBytes);
      const silentMs = nowMs - stream.progressAtMs;
      if (silentMs < boundMs) continue;
      const details = { group: stream.group, silentMs: Math.round(silentMs) };
      this.#abandon(stream, new Fault("LINK_STALLED", "the vault takes nothing", details));
    }
    for (const request of [...this.#outstanding.values()]) {
      if (request.answerMsMax === null || request.body === null) continue;
      if (nowMs - request.sentAtMs < request.answerMsMax) continue;
      request.body = null;
      request.reject(new Fault("LINK_STALLED", "the vault does not answer"));
    }
  }

  /** Gives up a stream: its requests reject, but what was sent keeps its credit until the vault answers. */
  #abandon(stream: OutgoingStream, fault: Fault): void {
    stream.fault ??= fault;
    this.#streams.delete(stream);
    for (const request of this.#queue.remove((at) => at.stream === stream)) {
      if (request.number === 0) request.reject(fault);
    }
    for (const request of this.#outstanding.values()) {
      if (request.stream !== stream || request.body === null) continue;
      request.body = null;
      request.reject(fault);
    }
  }

  #countsOf(group: GroupName): SentCounts {
    const found = this.#counts.get(group);
    if (found !== undefined) return found;
    const made = { dataBytes: 0, wireBytes: 0, resentBytes: 0 };
    this.#counts.set(group, made);
    return made;
  }

  /** So much data went into chunks, before the codec. */
  countData(group: GroupName, dataBytes: number): void {
    assert(dataBytes > 0);
    this.#countsOf(group).dataBytes += dataBytes;
  }
}

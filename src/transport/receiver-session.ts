import { Fault, isFault } from "../base/fault.ts";
import type { Peer } from "../core/channel.ts";
import type { DiskIdentity, GroupName } from "../core/ids.ts";
import { checkPieces } from "../format/chunk.ts";
import { decodeZstdPayload } from "../format/codec.ts";
import { encodeFault } from "../format/wire-answers.ts";
import { decodeCall, type WireCall } from "../format/wire-calls.ts";
import { decodeChunk, type WireChunk } from "../format/wire-chunk.ts";
import { decodeReceived, decodeResume } from "../format/wire-control.ts";
import { type FrameHeader, wireFault } from "../format/wire-frame.ts";
import { encodeGrant, type Grant } from "../format/wire-hello.ts";
import {
  frameHeaderLengthBytes,
  jsonBodyLengthBytesMax,
  requestsOutstandingMax,
} from "../format/wire-limits.ts";
import type { ReceiveMemory, Room } from "./receive-memory.ts";
import type { ReceiverBounds } from "./receiver-bounds.ts";
import type { ChannelSession, ReceiverChannel } from "./receiver-channel.ts";
import {
  type GroupCall,
  type GroupStream,
  type ReceiverGroup,
  takenOver,
} from "./receiver-group.ts";
import { type KeptAnswer, RequestLog } from "./request-log.ts";

const nothing = new Uint8Array(0);
/** Of long calls that one peer made and that are not executed; further ones are not read until then. */
const callBodiesBytesMax = 16 * 1024 * 1024;
/** Of all memory for chunks the part that one peer may hold, in however many sessions: others get on. */
const peerShare = 2 / 3;

/** What a session needs of the receiver. */
export interface SessionSurroundings {
  readonly bounds: ReceiverBounds;
  readonly memory: ReceiveMemory;
  readonly usesThreads: boolean;
  readonly now: () => number;
  /** The group in this session's hands; takes it from an older session of the same peer. */
  readonly openGroup: (session: ReceiverSession, name: GroupName) => ReceiverGroup;
  /** The session broke the rules, or a request did what none may. */
  readonly onOffence: (session: ReceiverSession, fault: Fault) => void;
}

/** One replicator process at the vault: its channels, the streams it has open, the requests it made. */
export class ReceiverSession implements ChannelSession {
  readonly id: string;
  readonly peer: Peer;
  readonly groups = new Map<GroupName, ReceiverGroup>();
  /** Groups that a newer session has taken. */
  readonly lostGroups = new Set<GroupName>();
  lastHeardMs: number;
  chunkBytes = 0;
  repeatedBytes = 0;
  readonly #surroundings: SessionSurroundings;
  readonly #channels = new Set<ReceiverChannel>();
  readonly #log = new RequestLog();
  readonly #streams = new Map<number, ReceiverGroup>();
  readonly #writing = new Map<number, { running: number; readonly waiting: (() => void)[] }>();
  readonly #over = new AbortController();
  #heldBytes = 0;
  #callsUnderWay = 0;

  constructor(id: string, peer: Peer, surroundings: SessionSurroundings) {
    this.id = id;
    this.peer = peer;
    this.#surroundings = surroundings;
    this.lastHeardMs = surroundings.now();
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Aborts when the session has ended. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Chunks received and not executed, in bytes. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  add(channel: ReceiverChannel): void {
    this.#channels.add(channel);
  }

  remove(channel: ReceiverChannel): void {
    this.#channels.delete(channel);
    this.lastHeardMs = this.#surroundings.now();
  }

  /** Tells the sender how much it may have unanswered from now on. */
  grant(grant: Grant): void {
    const [channel] = this.#channels;
    channel?.send("grant", encodeGrant(grant));
  }

  /** Ends the session: channels, streams, groups. */
  async end(fault: Fault | null): Promise<void> {
    if (this.isOver) return;
    this.#over.abort();
    for (const channel of [...this.#channels]) channel.end(fault);
    for (const { waiting } of this.#writing.values()) for (const wake of waiting) wake();
    const groups = [...this.groups.values()];
    this.groups.clear();
    await Promise.all(groups.map((group) => group.release()));
  }

  roomFor(channel: ReceiverChannel, { type, bodyLengthBytes }: FrameHeader): Room | Promise<Room> {
    const { bounds, memory } = this.#surroundings;
    const { id } = this.peer;
    if (type !== "chunk") {
      const owner = { name: `${id} calls`, bytesMax: callBodiesBytesMax };
      return memory.take(bodyLengthBytes, owner, channel.signal);
    }
    const lengthBytes = bodyLengthBytes + frameHeaderLengthBytes;
    if (this.#heldBytes + lengthBytes > bounds.sessionBytesMax && this.#heldBytes > 0) {
      throw wireFault("more chunks than were granted", { heldBytes: this.#heldBytes });
    }
    this.#heldBytes += lengthBytes;
    const account = (room: Room): Room => ({
      bytes: room.bytes,
      release: () => {
        this.#heldBytes -= lengthBytes;
        room.release();
      },
    });
    const peerBytesMax = Math.max(bounds.sessionBytesMax, bounds.memoryBytes * peerShare);
    const owner = { name: id, bytesMax: peerBytesMax };
    const room = memory.take(bodyLengthBytes, owner, channel.signal);
    return room instanceof Promise ? room.then(account) : account(room);
  }

  onFrame(
    channel: ReceiverChannel,
    header: FrameHeader,
    body: Uint8Array,
    room: Room | null,
  ): null {
    this.lastHeardMs = channel.heardAtMs;
    this.#log.advance(header.watermark);
    switch (header.type) {
      case "ping":
        return null;
      case "call":
        this.#onCall(channel, header, body, room);
        return null;
      case "chunk":
        this.#onChunk(channel, header, body, room);
        return null;
      case "resume":
        this.#onResume(channel, header.request, body);
        return null;
      case "received":
        this.#log.confirm(decodeReceived(body));
        return null;
      default:
        throw wireFault(`a replicator does not send a ${header.type}`);
    }
  }

  #onCall(
    channel: ReceiverChannel,
    header: FrameHeader,
    body: Uint8Array,
    room: Room | null,
  ): void {
    const { request, stream } = header;
    let call: WireCall | Fault | null = null;
    try {
      this.#checkMayCall();
      if (!this.#take(request)) return;
      call = decodedOrFault(() => decodeCall(body));
    } finally {
      if (call === null) room?.release();
    }
    this.#callsUnderWay += 1;
    const type = call instanceof Fault || call.call !== "hashes" ? "answer" : "answerBytes";
    const execute = async (): Promise<Uint8Array> => {
      if (call instanceof Fault) throw call;
      return await this.#execute(call, stream);
    };
    void this.#answer(channel, header, type, execute).then(() => {
      this.#callsUnderWay -= 1;
      room?.release(); // Decoded, it is as large again for as long as it waits for its turn.
    });
  }

  #onChunk(
    channel: ReceiverChannel,
    header: FrameHeader,
    body: Uint8Array,
    room: Room | null,
  ): void {
    this.chunkBytes += header.bodyLengthBytes;
    if (!this.#take(header.request)) {
      this.repeatedBytes += header.bodyLengthBytes;
      room?.release();
      return;
    }
    void this.#answer(channel, header, "answer", async () => {
      try {
        return await this.#writeInTurn(header.stream, decodeChunk(body));
      } finally {
        room?.release();
      }
    });
  }

  /** Before a request is taken: one that was taken has to be answered. */
  #checkMayCall(): void {
    const { callsPerSessionMax, answersBytesMax } = this.#surroundings.bounds;
    if (this.#callsUnderWay >= callsPerSessionMax) throw wireFault("too many requests");
    if (this.#log.answersBytes > answersBytesMax) throw wireFault("answers unconfirmed");
  }

  /** Whether the request has to be executed: it is new. */
  #take(request: number): boolean {
    if (request === 0) throw wireFault("a request without a number");
    if (this.#log.underWayCount + this.#log.answersCount >= requestsOutstandingMax) {
      throw wireFault("more requests than may be outstanding");
    }
    return this.#log.take(request);
  }

  /** Executes a request and answers it; whatever comes of it is an answer. */
  async #answer(
    channel: ReceiverChannel,
    { request, stream }: FrameHeader,
    type: KeptAnswer["type"],
    execute: () => Promise<Uint8Array>,
  ): Promise<void> {
    let answer: KeptAnswer;
    try {
      answer = { type, stream, body: checkedAnswer(await execute()) };
    } catch (error) {
      answer = { type: "fault", stream, body: encodeFault(this.#faultOf(error)) };
    }
    if (this.isOver) return;
    this.#log.answered(request, answer);
    if (this.#log.answersBytes > this.#surroundings.bounds.answersBytesMax * 2) {
      this.#surroundings.onOffence(this, wireFault("answers unconfirmed"));
      return;
    }
    this.#sendAnswer(channel, request, answer);
  }

  #sendAnswer(channel: ReceiverChannel, request: number, answer: KeptAnswer): void {
    const { type, stream, body } = answer;
    const [other] = this.#channels;
    const way = channel.isOpen ? channel : other;
    way?.send(type, body, { request, stream });
  }

  /** What the peer may be told. A failed assertion is the peer's fault here: it asked for what no honest one does. */
  #faultOf(error: unknown): Fault {
    if (isFault(error)) return error;
    const message = "link: the request could not be executed";
    const fault = new Fault("LINK_PROTOCOL", message, {}, { cause: error });
    this.#surroundings.onOffence(this, fault);
    return fault;
  }

  async #execute(call: WireCall, stream: number): Promise<Uint8Array> {
    if (isGroupCall(call)) return await this.#executeGroupCall(call, stream);
    const found = this.#streamOf(stream);
    if (found === null) {
      if (call.call === "close") return nothing;
      throw streamUnknown();
    }
    const body = await found.group.streamCall(call, found.stream);
    if (call.call === "close" || call.call === "discard" || call.call === "seal") {
      this.#streams.delete(stream);
    }
    return body;
  }

  async #executeGroupCall(call: GroupCall, stream: number): Promise<Uint8Array> {
    const name = (call.call === "begin" ? call.header.group : call.group) as GroupName;
    const group = this.#groupOf(name);
    if (call.call !== "begin" && call.call !== "stage") return await group.call(call, stream);
    const { streamsPerSessionMax } = this.#surroundings.bounds;
    if (stream === 0 || this.#streams.has(stream)) throw wireFault("a stream begins twice");
    if (this.#streams.size >= streamsPerSessionMax) throw wireFault("too many streams");
    const body = await group.call(call, stream);
    this.#streams.set(stream, group);
    return body;
  }

  #groupOf(name: GroupName): ReceiverGroup {
    const found = this.groups.get(name);
    if (found !== undefined) return found;
    if (this.lostGroups.has(name) || this.isOver) throw takenOver(name);
    if (this.groups.size >= this.#surroundings.bounds.groupsPerSessionMax) {
      throw wireFault("too many groups");
    }
    const made = this.#surroundings.openGroup(this, name);
    this.groups.set(name, made);
    return made;
  }

  #streamOf(number: number): { group: ReceiverGroup; stream: GroupStream } | null {
    const group = this.#streams.get(number);
    const stream = group?.stream(number) ?? null;
    return group === undefined || stream === null ? null : { group, stream };
  }

  /** Writes a chunk; of one stream so many at a time. */
  async #writeInTurn(number: number, chunk: WireChunk): Promise<Uint8Array> {
    const { writesPerStreamMax } = this.#surroundings.bounds;
    const lane = this.#writing.get(number) ?? { running: 0, waiting: [] };
    this.#writing.set(number, lane);
    if (lane.running >= writesPerStreamMax) {
      await new Promise<void>((resolve) => lane.waiting.push(resolve));
    } else lane.running += 1;
    try {
      await this.#write(number, chunk);
      return nothing;
    } finally {
      const next = lane.waiting.shift();
      if (next === undefined) {
        lane.running -= 1;
        if (lane.running === 0) this.#writing.delete(number);
      } else next();
    }
  }

  async #write(number: number, chunk: WireChunk): Promise<void> {
    const found = this.#streamOf(number);
    if (found === null || this.isOver) throw streamUnknown();
    const { target } = found.stream;
    const { disk, offsetBytes, lengthBytes, codec, list, payload } = chunk;
    if (target.kind === "point") {
      const stored = { offsetBytes, lengthBytes, codec, list, payload };
      await target.writer.writeStored(disk as DiskIdentity, stored);
      return;
    }
    const { usesThreads } = this.#surroundings;
    const isRaw = codec === "raw";
    const data = isRaw ? payload : await decodeZstdPayload(payload, { lengthBytes, usesThreads });
    const pieceCount = list.length / 32;
    checkPieces({ offsetBytes, lengthBytes, firstPiece: 0, pieceCount }, data, list);
    if (target.staged.status.identity !== disk) throw wireFault("a chunk of another disk");
    await target.staged.write(offsetBytes, data);
  }

  /** The sender has lost channels: nothing more is read from them, and it learns what arrived by them. */
  #onResume(channel: ReceiverChannel, serial: number, body: Uint8Array): void {
    const { channels, requests } = decodeResume(body);
    for (const other of [...this.#channels]) {
      if (other !== channel && channels.includes(other.number)) other.end(null);
    }
    const states = new Uint8Array(requests.length);
    for (const [place, request] of requests.entries()) {
      states[place] = this.#log.has(request) ? 1 : 0;
    }
    channel.send("standing", states, { request: serial });
    for (const request of new Set(requests)) {
      const answer = this.#log.answer(request);
      if (answer !== null) this.#sendAnswer(channel, request, answer);
    }
  }
}

/** What is wrong with a request inside an intact frame is its answer: ended, the channel would bring it again. */
function decodedOrFault<Value>(decode: () => Value): Value | Fault {
  try {
    return decode();
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
}

/** LINK_PROTOCOL when no frame has room for it. */
function checkedAnswer(body: Uint8Array): Uint8Array {
  if (body.length <= jsonBodyLengthBytesMax) return body;
  throw wireFault("the answer is too long", { bodyLengthBytes: body.length });
}

function isGroupCall(call: WireCall): call is GroupCall {
  const { call: name } = call;
  return name === "ask" || name === "begin" || name === "stage" || name === "confirm";
}

function streamUnknown(): Fault {
  return new Fault("LINK_RESET", "the vault does not know the stream any more");
}

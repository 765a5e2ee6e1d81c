import { availableParallelism } from "node:os";
import type { DiskName, GroupName, PointId } from "../core/ids.ts";
import type {
  IntakeStanding,
  PointWriter,
  StagedDisk,
  StagedStatus,
  StageRequest,
} from "../core/journal.ts";
import type { Point, PointHeader } from "../core/point.ts";
import { type PieceHasher, pieceHasher } from "../delta/piece-hasher.ts";
import type { Codec } from "../format/codec.ts";
import { encodeHeader } from "../format/delta-header.ts";
import { decodeStaged, decodeStanding } from "../format/wire-answers.ts";
import { encodeCall, type WireCall } from "../format/wire-calls.ts";
import { ChunkMaker } from "./chunk-maker.ts";
import type { LinkIntake } from "./link.ts";
import type { LinkSession } from "./link-session.ts";
import { type OutgoingStream, outgoing } from "./outgoing.ts";
import { RemotePointWriter } from "./remote-point-writer.ts";
import { RemoteStagedDisk } from "./remote-staged-disk.ts";

/** Handing a piece to a thread costs half of hashing it; with fewer processors others need them: the source, the guests. */
const threadsWorthProcessorsMin = 4;

/** How a group's chunks are made. */
export interface ChunkOptions {
  readonly codecOf: (disk: DiskName, group: GroupName) => Codec;
  readonly usesThreads: boolean;
}

/** How long an answer may take. */
export type Patience = "call" | "seal";

/** A group's requests, put on the session. */
export interface GroupCalls {
  readonly group: GroupName;
  readonly session: LinkSession;
  /** The answer's body. */
  call(call: WireCall, stream: OutgoingStream | null, patience?: Patience): Promise<Uint8Array>;
  /** Asks without waiting: for the last word about a stream. */
  tell(call: WireCall, stream: OutgoingStream): void;
}

/** A group's journal at the other end of a link. */
export class RemoteIntake implements LinkIntake, GroupCalls {
  readonly group: GroupName;
  readonly session: LinkSession;
  readonly #options: ChunkOptions;
  readonly #hasher: PieceHasher;
  #head: Point | null = null;

  constructor(session: LinkSession, group: GroupName, options: ChunkOptions) {
    this.session = session;
    this.group = group;
    this.#options = options;
    const usesThreads = options.usesThreads && availableParallelism() >= threadsWorthProcessorsMin;
    this.#hasher = pieceHasher({ usesThreads });
  }

  head(): Point | null {
    return this.#head;
  }

  async ask(): Promise<IntakeStanding> {
    const body = await this.call({ call: "ask", group: this.group }, null);
    const { head, staged, generation } = decodeStanding(body);
    // Checked against the same patterns that make the product's brands.
    this.#head = head as Point | null;
    return { head: this.#head, staged: staged as readonly StagedStatus[], generation, owed: null };
  }

  async begin(header: PointHeader): Promise<PointWriter> {
    const headerBytes = encodeHeader(header);
    const stream = this.session.openStream(this.group);
    try {
      await this.call({ call: "begin", header }, stream);
    } catch (error) {
      this.session.forget(stream);
      throw error;
    }
    return new RemotePointWriter({
      calls: this,
      stream,
      header,
      headerBytes,
      chunks: this.#chunkMaker(),
      onSealed: (point) => {
        this.#head = point;
      },
    });
  }

  async stage(request: StageRequest): Promise<StagedDisk> {
    const { group } = this;
    const { kind, disk, identity, sizeBytes, syncId } = request;
    const asked = { kind, disk, identity, sizeBytes, syncId };
    const stream = this.session.openStream(group);
    try {
      const body = await this.call({ call: "stage", group, request: asked }, stream);
      const status = decodeStaged(body) as StagedStatus;
      return new RemoteStagedDisk({ calls: this, stream, status, chunks: this.#chunkMaker() });
    } catch (error) {
      this.session.forget(stream);
      throw error;
    }
  }

  async confirmCurrent({ point, atMs }: { point: PointId; atMs: number }): Promise<void> {
    await this.call({ call: "confirm", group: this.group, point, atMs }, null);
    if (this.#head?.id !== point) return;
    this.#head = { ...this.#head, currentAtMs: Math.max(atMs, this.#head.currentAtMs ?? atMs) };
  }

  owedSince(): null {
    return null;
  }

  call(
    call: WireCall,
    stream: OutgoingStream | null,
    patience: Patience = "call",
  ): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const { callAnswerMsMax, sealAnswerMsMax } = this.session.bounds;
    this.session.send(
      outgoing({
        type: "call",
        group: this.group,
        stream,
        body: [encodeCall(call)],
        answerMsMax: patience === "seal" ? sealAnswerMsMax : callAnswerMsMax,
        resolve,
        reject,
      }),
    );
    return promise;
  }

  tell(call: WireCall, stream: OutgoingStream): void {
    if (stream.fault?.code === "LINK_LOST" || stream.fault?.code === "LINK_RESET") return;
    // The stream may be dead for its owner; the vault shall know that it is over.
    this.session.send(
      outgoing({
        type: "call",
        group: this.group,
        stream: { ...stream, fault: null },
        body: [encodeCall(call)],
        answerMsMax: null,
        resolve: () => {},
        reject: () => {},
      }),
    );
  }

  /** Ends nothing: the link goes on, and so does what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {}

  #chunkMaker(): ChunkMaker {
    return new ChunkMaker(this.#hasher, this.group, this.#options);
  }
}

import { Fault } from "../base/fault.ts";
import type { Peer } from "../core/channel.ts";
import type { DiskIdentity, GroupName, HashHex, PointId } from "../core/ids.ts";
import type {
  JournalIntake,
  PointWriter,
  StagedDisk,
  StagedStatus,
  StageRequest,
} from "../core/journal.ts";
import type { Generation, PointHeader } from "../core/point.ts";
import { encodePoint, encodeStaged, encodeStanding } from "../format/wire-answers.ts";
import type { WireCall } from "../format/wire-calls.ts";

const nothing = new Uint8Array(0);

/** A delta that is being written, or a staged disk, in a group's hands. */
export interface GroupStream {
  readonly number: number;
  readonly target:
    | { readonly kind: "point"; readonly writer: PointWriter }
    | { readonly kind: "staged"; readonly staged: StagedDisk };
}

/** The part of a call that is about a group, not about one of its streams. */
export type GroupCall = Extract<WireCall, { call: "ask" | "begin" | "stage" | "confirm" }>;

/**
 * One group in the hands of one session: opens its journal, and does one thing after the other with it, except writing. A new
 * delta takes the place of one that was left open, whose `close` may still be on its way.
 */
export class ReceiverGroup {
  readonly name: GroupName;
  readonly #peer: Peer;
  readonly #open: () => Promise<JournalIntake>;
  readonly #rivals: () => readonly ReceiverGroup[];
  readonly #streams = new Map<number, GroupStream>();
  #intake: Promise<JournalIntake> | null = null;
  #turn: Promise<void> = Promise.resolve();
  #isReleased = false;

  constructor(options: {
    readonly name: GroupName;
    readonly peer: Peer;
    readonly open: () => Promise<JournalIntake>;
    /** The same group in the hands of other peers. */
    readonly rivals: () => readonly ReceiverGroup[];
  }) {
    this.name = options.name;
    this.#peer = options.peer;
    this.#open = options.open;
    this.#rivals = options.rivals;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  stream(number: number): GroupStream | null {
    return this.#streams.get(number) ?? null;
  }

  /** Does a call of the group, after those before it; the answer's body. */
  async call(call: GroupCall, stream: number): Promise<Uint8Array> {
    return await this.#inTurn(async () => {
      if (this.#isReleased) throw takenOver(this.name);
      const intake = await this.#opened();
      switch (call.call) {
        case "ask":
          return encodeStanding(await intake.ask());
        case "begin":
          return await this.#begin(intake, call.header as PointHeader, stream);
        case "stage":
          return await this.#stage(intake, call.request as StageRequest, stream);
        case "confirm":
          await intake.confirmCurrent({ point: call.point as PointId, atMs: call.atMs });
          return nothing;
      }
    });
  }

  /** Does a call of one of its streams; the answer's body. */
  async streamCall(call: WireCall, stream: GroupStream): Promise<Uint8Array> {
    const { target } = stream;
    if (call.call === "close" || call.call === "discard" || call.call === "seal") {
      return await this.#inTurn(() => this.#end(call, stream));
    }
    if (call.call === "zero") {
      const { disk, offsetBytes, lengthBytes } = call;
      if (target.kind === "staged") await target.staged.zero(offsetBytes, lengthBytes);
      else await target.writer.zero(disk as DiskIdentity, offsetBytes, lengthBytes);
      return nothing;
    }
    if (call.call === "adopt" && target.kind === "point") {
      const staged = this.#streams.get(call.staged)?.target;
      if (staged?.kind !== "staged") throw refusedCall("adopts what is not staged");
      await target.writer.adopt(staged.staged);
      return nothing;
    }
    if (target.kind !== "staged") throw refusedCall(`asks a delta to ${call.call}`);
    if (call.call === "hashes") {
      const hashes = new Uint8Array(call.blocks * 32);
      await target.staged.hashes(call.offsetBytes, hashes);
      return hashes;
    }
    if (call.call !== "checkpoint") throw refusedCall(`asks staged parts to ${call.call}`);
    await target.staged.checkpoint(call.resumeAtBytes);
    return nothing;
  }

  /** Gives up what is open and lets go of the journal. Never rejects with a Fault: nobody is left who could act on it. */
  async release(): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    await this.#inTurn(async () => {
      for (const stream of [...this.#streams.values()]) await this.#dispose(stream);
      const intake = await this.#intake?.catch(() => null);
      await intake?.[Symbol.asyncDispose]();
    });
  }

  /** Gives up the open delta: another peer, who may, begins one. */
  async giveUpDelta(): Promise<void> {
    await this.#inTurn(() => this.#disposeWriter());
  }

  get hasDelta(): boolean {
    return [...this.#streams.values()].some(({ target }) => target.kind === "point");
  }

  #opened(): Promise<JournalIntake> {
    if (this.#intake !== null) return this.#intake;
    const opening = this.#open();
    this.#intake = opening;
    opening.catch(() => {
      if (this.#intake === opening) this.#intake = null; // The next call tries again.
    });
    return opening;
  }

  async #begin(intake: JournalIntake, header: PointHeader, stream: number): Promise<Uint8Array> {
    const rivals = this.#rivals().filter((rival) => rival.hasDelta);
    if (rivals.length > 0) await this.#checkMayWrite(intake, header.generation);
    // One delta is open at a time, and this peer is the one that may have it.
    for (const rival of rivals) await rival.giveUpDelta();
    await this.#disposeWriter();
    const writer = await intake.begin(header);
    const { holder } = header.generation;
    if (holder !== this.#peer.id) {
      // The journal believes whom it is told; a replicator can claim no generation but its own.
      await writer[Symbol.asyncDispose]();
      const message = `${this.name}: a generation of ${holder} is claimed by ${this.#peer.id}`;
      throw new Fault("PEER_REFUSED", message, { group: this.name });
    }
    this.#streams.set(stream, { number: stream, target: { kind: "point", writer } });
    return nothing;
  }

  /** Refuses whom the journal would refuse, before anything of another's is given up for it. */
  async #checkMayWrite(intake: JournalIntake, { number, holder }: Generation): Promise<void> {
    const { generation } = await intake.ask();
    if (holder === this.#peer.id && (generation === null || number > generation.number)) return;
    if (generation === null || (generation.holder === holder && generation.number === number)) {
      return;
    }
    const code = number < generation.number ? "GENERATION_STALE" : "GENERATION_CONFLICT";
    const details = { group: this.name, holder: generation.holder, number: generation.number };
    throw new Fault(code, `${this.name}: generation ${generation.number} is another's`, details);
  }

  async #stage(intake: JournalIntake, request: StageRequest, stream: number): Promise<Uint8Array> {
    for (const open of [...this.#streams.values()]) {
      const { target } = open;
      if (target.kind === "staged" && target.staged.status.disk === request.disk) {
        await this.#dispose(open);
      }
    }
    const staged = await intake.stage(request);
    this.#streams.set(stream, { number: stream, target: { kind: "staged", staged } });
    return encodeStaged(plainStatus(staged.status));
  }

  async #end(
    call: Extract<WireCall, { call: "close" | "discard" | "seal" }>,
    stream: GroupStream,
  ): Promise<Uint8Array> {
    const { target } = stream;
    if (this.#streams.get(stream.number) !== stream) {
      if (call.call === "close") return nothing;
      throw takenOver(this.name);
    }
    if (call.call === "close") {
      await this.#dispose(stream);
      return nothing;
    }
    if (call.call === "discard") {
      if (target.kind !== "staged") throw refusedCall("asks a delta to discard");
      await target.staged.discard();
      await this.#dispose(stream);
      return nothing;
    }
    if (target.kind !== "point") throw refusedCall("asks staged parts to seal");
    const { dirtyBytes, readBytes, clock } = call;
    const contentRoot = call.contentRoot as HashHex | null;
    const point = await target.writer.seal({ dirtyBytes, readBytes, contentRoot, clock });
    const answer = encodePoint(point);
    await this.#dispose(stream);
    return answer;
  }

  async #disposeWriter(): Promise<void> {
    for (const open of [...this.#streams.values()]) {
      if (open.target.kind === "point") await this.#dispose(open);
    }
  }

  async #dispose(stream: GroupStream): Promise<void> {
    this.#streams.delete(stream.number);
    const { target } = stream;
    const resource = target.kind === "point" ? target.writer : target.staged;
    await resource[Symbol.asyncDispose]();
  }

  async #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const before = this.#turn;
    const ended = Promise.withResolvers<void>();
    this.#turn = ended.promise;
    await before;
    try {
      return await work();
    } finally {
      ended.resolve();
    }
  }
}

/** LINK_RESET: a newer session of the same replicator has the group now. */
export function takenOver(group: GroupName): Fault {
  return new Fault("LINK_RESET", `${group}: what was under way was given up`, { group });
}

function refusedCall(message: string): Fault {
  return new Fault("LINK_PROTOCOL", `link: the peer ${message}`);
}

function plainStatus(status: StagedStatus): StagedStatus {
  const { kind, disk, identity, sizeBytes, syncId, resumeAtBytes } = status;
  return { kind, disk, identity, sizeBytes, syncId, resumeAtBytes };
}

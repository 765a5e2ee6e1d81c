import { Fault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import type { FairQueue } from "./fair-queue.ts";
import type { Outgoing, OutgoingStream } from "./outgoing.ts";
import type { Outstanding } from "./outstanding.ts";

/** The streams that are open at the sender, and whether each gets on. */
export class StreamTable {
  readonly #outstanding: Outstanding;
  readonly #queue: FairQueue;
  readonly #streams = new Set<OutgoingStream>();
  #nextNumber = 1;

  constructor(outstanding: Outstanding, queue: FairQueue) {
    this.#outstanding = outstanding;
    this.#queue = queue;
  }

  open(group: GroupName): OutgoingStream {
    const number = this.#nextNumber++;
    const stream = { number, group, outstandingBytes: 0, progressAtMs: 0, fault: null };
    this.#streams.add(stream);
    return stream;
  }

  /** Nothing more will be asked of it. */
  forget(stream: OutgoingStream): void {
    this.#streams.delete(stream);
  }

  /** All of them are dead, for one reason. */
  giveUpAll(fault: Fault): void {
    for (const stream of this.#streams) stream.fault ??= fault;
    this.#streams.clear();
  }

  /**
   * Gives up what has waited too long: streams that get no answers for `stalledMs`, and single requests. Returns those that the
   * vault lacks and never gets: nobody will answer them.
   */
  giveUpStalled(nowMs: number, stalledMs: number): readonly Outgoing[] {
    const lacking: Outgoing[] = [];
    for (const stream of this.#streams) {
      const silentMs = Math.round(nowMs - stream.progressAtMs);
      if (stream.outstandingBytes === 0 || silentMs < stalledMs) continue;
      const details = { group: stream.group, silentMs };
      const fault = new Fault("LINK_STALLED", "the vault takes nothing", details);
      lacking.push(...this.#giveUp(stream, fault));
    }
    for (const request of [...this.#outstanding.values()]) {
      if (request.answerMsMax === null || request.body === null) continue;
      if (nowMs - request.sentAtMs < request.answerMsMax) continue;
      request.body = null;
      request.reject(new Fault("LINK_STALLED", "the vault does not answer"));
    }
    return lacking;
  }

  /** Its requests reject, but what was sent keeps its credit until the vault answers. */
  #giveUp(stream: OutgoingStream, fault: Fault): readonly Outgoing[] {
    stream.fault ??= fault;
    this.#streams.delete(stream);
    const waiting = this.#queue.remove((at) => at.stream === stream);
    for (const request of waiting) if (request.number === 0) request.reject(fault);
    for (const request of this.#outstanding.values()) {
      if (request.stream !== stream || request.body === null) continue;
      request.body = null;
      request.reject(fault);
    }
    return waiting.filter(({ number }) => number !== 0);
  }
}

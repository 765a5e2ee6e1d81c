import assert from "node:assert/strict";
import type { StagedDisk, StagedStatus } from "../core/journal.ts";
import { blockSizeBytes, hashLengthBytes, windowSizeBytes } from "../core/limits.ts";
import type { WireCall } from "../format/wire-calls.ts";
import { wireFault } from "../format/wire-frame.ts";
import { hashesBlocksMax } from "../format/wire-limits.ts";
import type { ChunkMaker } from "./chunk-maker.ts";
import { ChunkSender } from "./chunk-sender.ts";
import type { GroupCalls } from "./link-intake.ts";
import type { OutgoingStream } from "./outgoing.ts";

/** Parts of a disk, staged at the other end of a link. */
export class RemoteStagedDisk implements StagedDisk {
  readonly #calls: GroupCalls;
  readonly #stream: OutgoingStream;
  readonly #chunks: ChunkMaker;
  readonly #sender: ChunkSender;
  #status: StagedStatus;
  #isOver = false;

  constructor(options: {
    readonly calls: GroupCalls;
    readonly stream: OutgoingStream;
    readonly status: StagedStatus;
    readonly chunks: ChunkMaker;
  }) {
    this.#calls = options.calls;
    this.#stream = options.stream;
    this.#chunks = options.chunks;
    this.#status = options.status;
    this.#sender = new ChunkSender(options.calls.session, options.stream);
  }

  get status(): StagedStatus {
    return this.#status;
  }

  /** As it is called in the session. */
  get streamNumber(): number {
    return this.#stream.number;
  }

  async hashes(offsetBytes: number, into: Uint8Array): Promise<void> {
    assert(offsetBytes % blockSizeBytes === 0 && into.length % hashLengthBytes === 0);
    for (let at = 0; at < into.length; at += hashesBlocksMax * hashLengthBytes) {
      const part = into.subarray(at, at + hashesBlocksMax * hashLengthBytes);
      const from = offsetBytes + (at / hashLengthBytes) * blockSizeBytes;
      const blocks = part.length / hashLengthBytes;
      const body = await this.#call({ call: "hashes", offsetBytes: from, blocks });
      if (body.length !== part.length) throw wireFault("hashes of another count");
      part.set(body);
    }
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    const { disk, identity } = this.#status;
    const sends: Promise<void>[] = [];
    for (let at = 0; at < data.length; ) {
      const windowEnd = (Math.floor((offsetBytes + at) / windowSizeBytes) + 1) * windowSizeBytes;
      const end = Math.min(data.length, windowEnd - offsetBytes);
      const chunk = this.#chunks.make(disk, offsetBytes + at, data.subarray(at, end));
      sends.push(chunk.then((made) => this.#sender.send(identity, made)));
      at = end;
    }
    await allSettledOrFirst(sends);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#call({ call: "zero", disk: this.#status.identity, offsetBytes, lengthBytes });
  }

  async checkpoint(resumeAtBytes: number): Promise<void> {
    await this.#call({ call: "checkpoint", resumeAtBytes });
    this.#status = { ...this.#status, resumeAtBytes };
  }

  async discard(): Promise<void> {
    await this.#call({ call: "discard" });
    this.#isOver = true;
    this.#calls.session.forget(this.#stream);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#calls.tell({ call: "close" }, this.#stream);
    this.#calls.session.forget(this.#stream);
  }

  #call(call: WireCall): Promise<Uint8Array> {
    return this.#calls.call(call, this.#stream);
  }
}

/** The buffers are the caller's again when all have settled; then the first fault counts. */
async function allSettledOrFirst(sends: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(sends);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

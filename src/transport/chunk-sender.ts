import type { DiskIdentity } from "../core/ids.ts";
import type { StoredChunk } from "../core/journal.ts";
import { chunkBody } from "./chunk-maker.ts";
import type { LinkSession } from "./link-session.ts";
import { type OutgoingStream, outgoing } from "./outgoing.ts";

/** Up to here a chunk is copied, so that its writer goes on as soon as it is on its way and many small ones fill a long link. */
const copiedBytesMax = 256 * 1024;

/**
 * Sends a stream's chunks. Small ones are behind the caller's back once they are on their way: the first fault of any fails
 * every later call, `settled` included.
 */
export class ChunkSender {
  readonly #session: LinkSession;
  readonly #stream: OutgoingStream;
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  constructor(session: LinkSession, stream: OutgoingStream) {
    this.#session = session;
    this.#stream = stream;
  }

  /** Sends a chunk; resolves when it was answered, and the buffers may be reused. */
  async send(disk: DiskIdentity, chunk: StoredChunk): Promise<void> {
    this.throwFailure();
    await this.#push(chunkBody(disk, chunk), chunk.lengthBytes).answered;
  }

  /**
   * As `send`, but a small chunk is copied and goes on behind the caller's back as soon as it is on its way. Only where no
   * chunk is written over by a later one: they may overtake each other.
   */
  async sendBehind(disk: DiskIdentity, chunk: StoredChunk): Promise<void> {
    this.throwFailure();
    const isCopied = chunk.payload.length <= copiedBytesMax;
    const body = chunkBody(disk, chunk);
    const parts = isCopied ? [Buffer.concat(body)] : body;
    const { sent, answered } = this.#push(parts, chunk.lengthBytes);
    const settled: Promise<void> = answered.then(
      () => void this.#underWay.delete(settled),
      (error: unknown) => {
        this.#underWay.delete(settled);
        this.#failure ??= { error };
      },
    );
    this.#underWay.add(settled);
    await (isCopied ? Promise.race([sent, settled]) : settled);
    this.throwFailure();
  }

  /** Resolves when every chunk sent behind was answered; rejects with the first fault. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    this.throwFailure();
  }

  /** The first fault of any chunk sent behind. */
  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }

  #push(
    body: readonly Uint8Array[],
    dataBytes: number,
  ): { readonly sent: Promise<void>; readonly answered: Promise<Uint8Array> } {
    const sent = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<Uint8Array>();
    this.#session.sent.of(this.#stream.group).dataBytes += dataBytes;
    this.#session.send(
      outgoing({
        type: "chunk",
        group: this.#stream.group,
        stream: this.#stream,
        body,
        answerMsMax: null,
        resolve: answered.resolve,
        reject: answered.reject,
        onSent: sent.resolve,
      }),
    );
    return { sent: sent.promise, answered: answered.promise };
  }
}

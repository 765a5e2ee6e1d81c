import assert from "node:assert/strict";
import type { DiskIdentity, HashHex } from "../core/ids.ts";
import type { PointWriter, Sealing, StagedDisk, StoredChunk } from "../core/journal.ts";
import type { Point, PointDisk, PointHeader } from "../core/point.ts";
import { hexOf, sha256 } from "../format/bytes.ts";
import { DeltaIndexBuilder } from "../format/delta-index-builder.ts";
import { contentRootOf } from "../format/delta-trailer.ts";
import { decodePoint } from "../format/wire-answers.ts";
import type { ChunkMaker } from "./chunk-maker.ts";
import { ChunkSender } from "./chunk-sender.ts";
import type { GroupCalls } from "./link-intake.ts";
import type { OutgoingStream } from "./outgoing.ts";
import { RemoteStagedDisk } from "./remote-staged-disk.ts";

/** What a delta on its way to the vault is made of. */
export interface RemotePointWriterOptions {
  readonly calls: GroupCalls;
  readonly stream: OutgoingStream;
  readonly header: PointHeader;
  /** The same, encoded. */
  readonly headerBytes: Uint8Array;
  readonly chunks: ChunkMaker;
  readonly onSealed: (point: Point) => void;
}

/**
 * Writes one delta at the other end of a link.
 *
 *   writing ──seal──▶ sealing ──answer──▶ sealed        dispose in any other state gives it up at the vault, unwaited for
 */
export class RemotePointWriter implements PointWriter {
  readonly #options: RemotePointWriterOptions;
  readonly #sender: ChunkSender;
  readonly #disks: ReadonlyMap<DiskIdentity, { readonly place: number; readonly disk: PointDisk }>;
  readonly #index = new DeltaIndexBuilder();
  #isRootKnown: boolean;
  #sealing: Promise<Point> | null = null;
  #isSealed = false;
  #isDisposed = false;

  constructor(options: RemotePointWriterOptions) {
    this.#options = options;
    this.#sender = new ChunkSender(options.calls.session, options.stream);
    const { disks } = options.header;
    this.#disks = new Map(disks.map((disk, place) => [disk.identity, { place, disk }]));
    // Where a disk's size changed the vault adds zeroes that the sender does not know of.
    this.#isRootKnown = disks.every(
      ({ sizeBytes, previousSizeBytes }) =>
        previousSizeBytes === null || previousSizeBytes === sizeBytes,
    );
  }

  async write(identity: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#assertWriting();
    this.#sender.throwFailure();
    const { disk } = this.#diskOf(identity);
    const chunk = await this.#options.chunks.make(disk.name, offsetBytes, data);
    this.#enter(identity, chunk); // A fault of it is the delta's.
    await this.#sender.sendBehind(identity, chunk);
  }

  async writeStored(identity: DiskIdentity, chunk: StoredChunk): Promise<void> {
    this.#assertWriting();
    await this.#sender.send(identity, chunk);
    this.#enter(identity, chunk); // One that the vault refused is none.
  }

  #enter(identity: DiskIdentity, chunk: StoredChunk): void {
    this.#index.addChunk({
      disk: this.#diskOf(identity).place,
      offsetBytes: chunk.offsetBytes,
      lengthBytes: chunk.lengthBytes,
      pieceListHash: sha256(chunk.list),
      storedPositionBytes: 0, // Where it is stored is the vault's business.
      storedLengthBytes: 0,
      codec: chunk.codec,
    });
  }

  #assertWriting(): void {
    assert(this.#sealing === null && !this.#isDisposed, "the delta is sealed or given up");
  }

  async zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#sender.throwFailure();
    this.#index.addZero(this.#diskOf(disk).place, offsetBytes, lengthBytes);
    await this.#call({ call: "zero", disk, offsetBytes, lengthBytes });
  }

  async adopt(staged: StagedDisk): Promise<void> {
    assert(staged instanceof RemoteStagedDisk, "staged through this link");
    await this.#sender.settled();
    if (staged.status.kind === "parts") this.#isRootKnown = false;
    const { calls, stream } = this.#options;
    await calls.call({ call: "adopt", staged: staged.streamNumber }, stream, "seal");
  }

  seal(sealing: Sealing): Promise<Point> {
    this.#sealing ??= this.#sealNow(sealing);
    return this.#sealing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { calls, stream } = this.#options;
    if (!this.#isSealed) calls.tell({ call: "close" }, stream);
    calls.session.forget(stream);
  }

  async #sealNow(sealing: Sealing): Promise<Point> {
    await this.#sender.settled();
    const { calls, stream, onSealed } = this.#options;
    const { dirtyBytes, readBytes, contentRoot = this.#contentRoot(), clock = null } = sealing;
    const body = await calls.call(
      { call: "seal", dirtyBytes, readBytes, contentRoot, clock },
      stream,
      "seal",
    );
    const point = decodePoint(body) as Point; // Checked against the patterns that make the brands.
    this.#isSealed = true;
    onSealed(point);
    return point;
  }

  #contentRoot(): HashHex | null {
    if (!this.#isRootKnown) return null;
    const index = this.#index.finish();
    const headerHash = sha256(this.#options.headerBytes);
    return hexOf(contentRootOf(headerHash, index.logicalTable)) as HashHex;
  }

  async #call(call: Parameters<GroupCalls["call"]>[0]): Promise<void> {
    await this.#options.calls.call(call, this.#options.stream);
  }

  #diskOf(identity: DiskIdentity): { readonly place: number; readonly disk: PointDisk } {
    const found = this.#disks.get(identity);
    assert(found !== undefined, "the point has no such disk");
    return found;
  }
}

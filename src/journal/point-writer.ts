import assert from "node:assert/strict";
import { Fault, isFault } from "../base/fault.ts";
import type { DiskIdentity } from "../core/ids.ts";
import type { PointWriter, Sealing, StagedDisk, StoredChunk } from "../core/journal.ts";
import type { Point, PointDisk, PointHeader } from "../core/point.ts";
import type { DeltaWriter, FinishedDelta } from "../delta/writer.ts";
import { deltaCorrupt } from "../format/delta-corrupt.ts";
import { RunSet } from "./run-set.ts";
import { StagedBlocks } from "./staged-blocks.ts";

/** What the journal does with a finished delta. */
export type Commit = (
  finished: FinishedDelta,
  sealing: Sealing,
  adopted: readonly StagedBlocks[],
) => Promise<Point>;

/**
 * Writes one delta into `incoming`.
 *
 *   writing ──seal──▶ finishing ──commit──▶ sealed        dispose in any other state removes the file
 */
export class DeltaPointWriter implements PointWriter {
  readonly #header: PointHeader;
  readonly #delta: DeltaWriter;
  readonly #commit: Commit;
  readonly #release: () => void;
  readonly #places: ReadonlyMap<DiskIdentity, number>;
  readonly #written: readonly RunSet[];
  readonly #adopted: StagedBlocks[] = [];
  #sealing: Promise<Point> | null = null;
  #isReleased = false;

  constructor(options: {
    header: PointHeader;
    delta: DeltaWriter;
    commit: Commit;
    release: () => void;
  }) {
    this.#header = options.header;
    this.#delta = options.delta;
    this.#commit = options.commit;
    this.#release = options.release;
    const { disks } = options.header;
    this.#places = new Map(disks.map((disk, place) => [disk.identity, place]));
    this.#written = disks.map(() => new RunSet());
  }

  async write(disk: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void> {
    const place = this.#placeOf(disk, offsetBytes + data.length);
    this.#written[place]?.add(offsetBytes, data.length);
    await this.#delta.write(place, offsetBytes, data);
  }

  async zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void> {
    const place = this.#placeOf(disk, offsetBytes + lengthBytes);
    this.#written[place]?.add(offsetBytes, lengthBytes);
    await this.#delta.zero(place, offsetBytes, lengthBytes);
  }

  async writeStored(disk: DiskIdentity, chunk: StoredChunk): Promise<void> {
    const { offsetBytes, lengthBytes } = chunk;
    const place = this.#places.get(disk);
    // It may come from elsewhere: what is wrong with it is not our bug.
    if (place === undefined) throw deltaCorrupt("chunk", "the point has no such disk");
    await this.#delta.writeStored(place, chunk);
    // Only now: what was refused is still a gap.
    this.#written[place]?.add(offsetBytes, lengthBytes);
  }

  async adopt(staged: StagedDisk): Promise<void> {
    assert(staged instanceof StagedBlocks, "staged by this journal");
    const { kind, identity, resumeAtBytes, sizeBytes } = staged.status;
    const place = this.#places.get(identity);
    const disk = place === undefined ? undefined : this.#header.disks[place];
    if (place === undefined || disk === undefined) {
      throw refused(this.#header, `disk ${identity} was staged and is not in the point`);
    }
    if ((kind === "base") !== (disk.previousSizeBytes === null)) {
      const message = `${disk.name} was staged as ${kind}, which the point does not say`;
      throw refused(this.#header, message);
    }
    if (resumeAtBytes !== sizeBytes) {
      const message = `${disk.name} is staged up to ${resumeAtBytes} of ${sizeBytes} bytes only`;
      throw refused(this.#header, message);
    }
    await staged.prepareToSeal(this.#header.id, disk.sizeBytes);
    this.#adopted.push(staged);
    if (kind === "base") return;
    for await (const run of staged.runs(disk.sizeBytes)) {
      const endBytes = run.offsetBytes + run.lengthBytes;
      // Collected first: what is added here is not a gap any more.
      for (const gap of [...this.#written[place]!.gaps(run.offsetBytes, endBytes)]) {
        const lengthBytes = gap.endBytes - gap.offsetBytes;
        const start = gap.offsetBytes - run.offsetBytes;
        const data = run.data?.subarray(start, start + lengthBytes);
        if (data === undefined) await this.zero(identity, gap.offsetBytes, lengthBytes);
        else await this.write(identity, gap.offsetBytes, data);
      }
    }
  }

  seal(sealing: Sealing): Promise<Point> {
    this.#sealing ??= this.#sealNow(sealing);
    return this.#sealing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    await this.#sealing?.catch(() => {}); // Whoever sealed was told.
    try {
      await this.#delta[Symbol.asyncDispose]();
    } catch (error) {
      // What could not be removed lies in `incoming`, which the next start empties; whoever gives up has a fault of his own.
      if (!isFault(error)) throw error;
    } finally {
      this.#release();
    }
  }

  async #sealNow(sealing: Sealing): Promise<Point> {
    const contentRoot = sealing.contentRoot ?? null;
    const hasTails = this.#header.disks.some(
      (disk, place) => this.#tailGaps(place, disk).length > 0,
    );
    // What the sender wrote is checked before anything is added to it.
    if (contentRoot !== null && hasTails) await this.#delta.checkContent(contentRoot);
    for (const [place, disk] of this.#header.disks.entries()) {
      if (disk.previousSizeBytes === null) this.#checkHasBase(disk);
      for (const gap of this.#tailGaps(place, disk)) {
        await this.#delta.zero(place, gap.offsetBytes, gap.endBytes - gap.offsetBytes);
      }
    }
    const finished = await this.#delta.finish(hasTails ? null : contentRoot);
    return await this.#commit(finished, sealing, this.#adopted);
  }

  #checkHasBase(disk: PointDisk): void {
    if (this.#adopted.some((staged) => staged.status.identity === disk.identity)) return;
    throw refused(this.#header, `${disk.name} is new and no staged base was adopted for it`);
  }

  /**
   * Between its former end and its new one a disk seals zeroes where nothing was written: of a shrunk disk, so that nothing old
   * comes back when it grows; of a grown one, because beneath it the base may be as large as the disk once was.
   */
  #tailGaps(place: number, { sizeBytes, previousSizeBytes }: PointDisk) {
    if (previousSizeBytes === null) return [];
    const from = Math.min(sizeBytes, previousSizeBytes);
    const to = Math.max(sizeBytes, previousSizeBytes);
    return [...this.#written[place]!.gaps(from, to)];
  }

  #placeOf(disk: DiskIdentity, endBytes: number): number {
    const place = this.#places.get(disk);
    assert(place !== undefined, "the point has no such disk");
    const { sizeBytes, previousSizeBytes } = this.#header.disks[place]!;
    // The tail that a shrunk disk lost may be zeroed by the caller, too.
    assert(endBytes <= Math.max(sizeBytes, previousSizeBytes ?? 0), "within the disk");
    return place;
  }
}

/** SEAL_REFUSED, with what the vault was asked for. */
export function refused(header: PointHeader, message: string): Fault {
  const { id, sequence, group } = header;
  return new Fault("SEAL_REFUSED", `${group}: point #${sequence} (${id}): ${message}`, {
    group,
    sequence,
    point: id,
  });
}

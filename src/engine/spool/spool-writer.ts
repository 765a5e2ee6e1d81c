import assert from "node:assert/strict";
import { Fault, isFault } from "../../base/fault.ts";
import { KIB } from "../../base/units.ts";
import type { DiskIdentity, DiskName } from "../../core/ids.ts";
import type { Sealing, StagedDisk, StageRequest, StoredChunk } from "../../core/journal.ts";
import { blockSizeBytes, hashLengthBytes } from "../../core/limits.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import type { DeltaWriter } from "../../delta/writer.ts";
import type { RoutedWriter } from "../cycle-intake.ts";
import { requestOf } from "./lazy-staged-disk.ts";
import type { SpoolGroup } from "./spool-group.ts";
import type { SpooledPoint, SpoolState } from "./spool-state.ts";
import { spooledAsPoint } from "./spooled-point.ts";
import { withCut } from "./state-changes.ts";

/** Index entry, piece list and a share of header and trailer: more than an extent takes besides its data. */
const extentOverheadBytes = 128;
/** Header, prologue and trailer, machines' descriptions apart, which are counted. */
const deltaOverheadBytes = 8 * KIB;

/**
 * Writes one point into the spool.
 *
 *   writing ──seal──▶ finished ─▶ renamed ─▶ listed in the state (sealed)
 *
 * Disposing in any state but the last removes the file and gives its room back.
 */
export class SpoolWriter implements RoutedWriter {
  readonly route = "spool";
  readonly #group: SpoolGroup;
  readonly #header: PointHeader;
  readonly #delta: DeltaWriter;
  readonly #places: ReadonlyMap<DiskIdentity, number>;
  readonly #adopted: StageRequest[] = [];
  readonly #onSealed: (dataBytes: number) => void;
  readonly #onFull: (fault: Fault) => void;
  #takenBytes: number;
  #isDone = false;

  private constructor(options: {
    group: SpoolGroup;
    header: PointHeader;
    delta: DeltaWriter;
    takenBytes: number;
    onSealed: (dataBytes: number) => void;
    onFull: (fault: Fault) => void;
  }) {
    this.#group = options.group;
    this.#header = options.header;
    this.#delta = options.delta;
    this.#takenBytes = options.takenBytes;
    this.#onSealed = options.onSealed;
    this.#onFull = options.onFull;
    const disks = options.header.disks;
    this.#places = new Map(disks.map((disk, place) => [disk.identity, place]));
  }

  /** SPOOL_FULL before anything is written. */
  static async begin(options: {
    group: SpoolGroup;
    header: PointHeader;
    codecOf: (disk: DiskName) => "raw" | "zstd";
    onSealed: (dataBytes: number) => void;
    /** The point does not fit. */
    onFull: (fault: Fault) => void;
  }): Promise<SpoolWriter> {
    const { group, header, codecOf, onFull } = options;
    const codecs = header.disks.map(({ name }) => codecOf(name));
    const isRaw = codecs.every((codec) => codec === "raw");
    const codec = isRaw ? "raw" : (place: number) => codecs[place] ?? "raw";
    const takenBytes = deltaOverheadBytes + JSON.stringify(header).length;
    await asSpoolFull(() => group.room.take(takenBytes), onFull);
    try {
      const delta = await asSpoolFull(() => group.createDelta(header, codec), onFull);
      return new SpoolWriter({ ...options, delta, takenBytes });
    } catch (error) {
      group.room.give(takenBytes);
      throw error;
    }
  }

  async write(disk: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void> {
    await this.#take(data.length);
    await this.#filling(() => this.#delta.write(this.#placeOf(disk), offsetBytes, data));
  }

  async zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#take(0);
    await this.#filling(() => this.#delta.zero(this.#placeOf(disk), offsetBytes, lengthBytes));
  }

  writeStored(_disk: DiskIdentity, _chunk: StoredChunk): Promise<void> {
    assert.fail("points are cut into the spool from a source, not from another spool");
  }

  /** Noted beside the point: the vault takes the parts over when the point is shipped. */
  async adopt(staged: StagedDisk): Promise<void> {
    this.#adopted.push(requestOf(staged.status));
  }

  async seal(sealing: Sealing): Promise<Point> {
    const finished = await this.#filling(() => this.#delta.finish());
    const spooled: SpooledPoint = {
      id: this.#header.id,
      sequence: this.#header.sequence,
      fromPoint: this.#header.fromPoint,
      takenAtMs: this.#header.instant.lowerMs,
      generationNumber: this.#header.generation.number,
      contentRoot: finished.contentRoot,
      sizeBytes: finished.sizeBytes,
      dirtyBytes: sealing.dirtyBytes,
      readBytes: sealing.readBytes,
      clock: sealing.clock ?? null,
      adopted: this.#adopted,
      isRebased: false,
    };
    const { dataBytes, zeroBytes } = finished;
    const known = spooledAsPoint(this.#header, spooled);
    const point = { ...known, cost: { ...known.cost, dataBytes, zeroBytes } };
    await this.#filling(() =>
      this.#group.commit(point, (state) => {
        requireContinued(state, point);
        return { state: withCut(state, point, spooled) };
      }),
    );
    this.#isDone = true;
    // What was taken beforehand was a guess from above.
    this.#group.room.give(this.#takenBytes - finished.sizeBytes);
    this.#onSealed(dataBytes);
    return point;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    try {
      await this.#delta[Symbol.asyncDispose]();
      await this.#group.discardPart(this.#header);
    } catch (error) {
      // What could not be removed goes at the next start; whoever gives up has a fault of his own.
      if (!isFault(error)) throw error;
    }
    this.#group.room.give(this.#takenBytes);
  }

  async #take(dataBytes: number): Promise<void> {
    const lists = (Math.ceil(dataBytes / blockSizeBytes) + 1) * hashLengthBytes;
    const bytes = dataBytes + lists + extentOverheadBytes;
    await this.#filling(() => this.#group.room.take(bytes));
    this.#takenBytes += bytes;
  }

  #filling<Value>(work: () => Promise<Value>): Promise<Value> {
    return asSpoolFull(work, this.#onFull);
  }

  #placeOf(disk: DiskIdentity): number {
    const place = this.#places.get(disk);
    assert(place !== undefined, "the point has no such disk");
    return place;
  }
}

/** What the point goes on from may have been lost while it was cut: then nobody could ever take it. */
function requireContinued({ points, vaultHead }: SpoolState, point: Point): void {
  const newest = points.at(-1)?.id ?? vaultHead?.id ?? null;
  if (newest === point.fromPoint) return;
  const message = `${point.group}: what #${point.sequence} starts from was lost while it was cut`;
  throw new Fault("SEAL_REFUSED", message, { head: newest, point: point.id });
}

/** A medium that is full is a spool that is full: the point is given up, bitmaps gather. */
async function asSpoolFull<Value>(
  work: () => Promise<Value>,
  onFull: (fault: Fault) => void,
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!isFault(error, "STORAGE_FULL", "SPOOL_FULL")) throw error;
    const { message, details } = error;
    const full =
      error.code === "SPOOL_FULL"
        ? error
        : new Fault("SPOOL_FULL", message, details, { cause: error });
    onFull(full);
    throw full;
  }
}

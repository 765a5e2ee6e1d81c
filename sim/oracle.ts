import { isFault } from "../src/base/fault.ts";
import type { Prng } from "../src/base/prng.ts";
import { MIB } from "../src/base/units.ts";
import type { DiskName, PointId } from "../src/core/ids.ts";
import type { Journal, View } from "../src/core/journal.ts";
import type { Point, PointDisk } from "../src/core/point.ts";
import { faultOf } from "../src/engine/fault-of.ts";
import { pick } from "./chance.ts";
import type { DiskImage } from "./disk-image.ts";
import type { OpenVault } from "./vault.ts";

/** No disk of a world is larger. */
const diskSizeBytesMax = 4 * MIB;

/** Kept from world to world. */
const spareBuffers: Uint8Array[] = [];

/** The product broke a promise: what a world ends with. */
export class BrokenPromise extends Error {}

/** Knows what every point must read as, and which points must be there. */
export class Oracle {
  readonly #instants = new Map<string, ReadonlyMap<DiskName, DiskImage>>();
  readonly #acknowledged = new Map<PointId, Point>();
  readonly #retired = new Set<PointId>();
  readonly #onAcknowledged: (id: PointId) => void;
  /** The last instant, when nothing that may cost tracking came after it. */
  #undisturbed: string | null = null;
  #isResyncExcused = false;
  /** The medium lied or rotted: points may be lost, and reads may fail. Bytes must still never be wrong. */
  isDamaged = false;

  constructor(options: { onAcknowledged: (id: PointId) => void }) {
    this.#onAcknowledged = options.onAcknowledged;
  }

  noteInstant(id: string, disks: ReadonlyMap<DiskName, DiskImage>): void {
    this.#instants.set(id, disks);
    this.#undisturbed = id;
  }

  isInstant(id: string): boolean {
    return this.#instants.has(id);
  }

  acknowledge(point: Point): void {
    this.noteAcknowledged(point);
    this.noteSafe(point.id);
  }

  /** The vault has said that it holds the point. */
  noteAcknowledged(point: Point): void {
    this.#acknowledged.set(point.id, point);
  }

  /** Tracking starts afresh from this point: what disturbed it before its instant is no excuse any more. */
  noteSafe(id: PointId): void {
    this.#onAcknowledged(id);
    if (this.#undisturbed === id) this.#isResyncExcused = false;
  }

  /** A bitmap was lost, or may have been. */
  excuseResync(): void {
    this.#undisturbed = null;
    this.#isResyncExcused = true;
  }

  /** A disk that the vault knows is read whole: a failed cycle, or our death, must never be the reason. */
  noteResync(disk: DiskName, cause: string | null): void {
    if (!this.#isResyncExcused)
      throw new BrokenPromise(`${disk} is resynced for nothing: ${cause}`);
  }

  /** Policy asked for these to go; from now on they may be there or not. */
  mayRetire(points: Iterable<PointId>): void {
    for (const point of points) this.#retired.add(point);
  }

  isAcknowledged(id: PointId): boolean {
    return this.#acknowledged.has(id);
  }

  isRetired(id: PointId): boolean {
    return this.#retired.has(id);
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size;
  }

  /** No acknowledged point is missing, none is invented, and they stand in the order of their instants. */
  checkList(journal: Journal): void {
    const points = journal.points();
    const present = new Set(points.map((point) => point.id));
    for (const point of this.#acknowledged.values()) {
      if (present.has(point.id) || this.#retired.has(point.id) || this.isDamaged) continue;
      throw new BrokenPromise(`point #${point.sequence} ${point.id} was acknowledged and is gone`);
    }
    for (const point of points) {
      if (!this.#instants.has(point.id)) {
        throw new BrokenPromise(`point #${point.sequence} ${point.id} was never taken`);
      }
    }
    const sequences = points.map((point) => point.sequence);
    if (sequences.some((sequence, index) => index > 0 && sequence <= (sequences[index - 1] ?? 0))) {
      throw new BrokenPromise(`points out of order: ${sequences.join(", ")}`);
    }
    if ((journal.head()?.id ?? null) !== (points.at(-1)?.id ?? null)) {
      throw new BrokenPromise("the head is not the newest point");
    }
  }

  /** The newest point and another read as the source was at their instants. */
  async check(journal: Journal, dice: Prng): Promise<void> {
    this.checkList(journal);
    const ids = journal.points().map((point) => point.id);
    const some = ids.length > 2 ? [ids.at(-1), pick(dice, ids)] : ids;
    for (const id of new Set(some)) if (id) await this.checkPoint(journal, id);
  }

  /** Every point reads as the source was, and verify calls none good that does not. */
  async checkEverything(journal: Journal, vault: Pick<OpenVault, "verify">): Promise<void> {
    this.checkList(journal);
    const readable = new Set<PointId>();
    for (const { id } of journal.points()) {
      if (await this.checkPoint(journal, id)) readable.add(id);
    }
    const { good, lost } = await vault.verify();
    for (const id of good) {
      if (!readable.has(id)) throw new BrokenPromise(`verify calls ${id} good; it cannot be read`);
    }
    for (const id of lost) {
      // Of a delta that cannot be opened verify must fear more than a point that needs little of it shows.
      if (this.isDamaged || !readable.has(id)) continue;
      throw new BrokenPromise(`verify calls ${id} lost; it reads well`);
    }
    if (good.length + lost.length !== journal.points().length) {
      throw new BrokenPromise("verify has left points out");
    }
  }

  /** False when it could not be read, which its medium must be to blame for. */
  async checkPoint(journal: Journal, id: PointId): Promise<boolean> {
    try {
      await using view = await journal.open(id);
      return await this.checkView(view);
    } catch (error) {
      if (!this.#mayFail(error)) throw error;
      return false;
    }
  }

  /** A view reads as the source was, now and as long as it is open. False when it could not be read. */
  async checkView(view: View): Promise<boolean> {
    let isReadable = true;
    const { id, sequence } = view.point;
    const images = this.#instants.get(id);
    if (!images) throw new BrokenPromise(`point ${id} was never taken`);
    if (view.disks.length !== images.size) throw new BrokenPromise(`#${sequence} has other disks`);
    for (const disk of view.disks) {
      const image = images.get(disk.name);
      if (image?.sizeBytes !== disk.sizeBytes) {
        throw new BrokenPromise(`#${sequence} ${disk.name}: other size than at its instant`);
      }
      const wrong = await this.#wrongBlocks(view, disk, image);
      if (wrong === null) isReadable = false;
      if (wrong === null || wrong.length === 0) continue;
      const where = `#${sequence} ${id} ${disk.name}`;
      throw new BrokenPromise(`${where}: wrong bytes in blocks ${wrong.join(", ")}`);
    }
    return isReadable;
  }

  async #wrongBlocks(
    view: View,
    disk: PointDisk,
    image: DiskImage,
  ): Promise<readonly number[] | null> {
    const buffer = spareBuffers.pop() ?? new Uint8Array(diskSizeBytesMax);
    try {
      const found = buffer.subarray(0, disk.sizeBytes);
      await view.read(disk.identity, 0, found);
      return image.differingBlocks(found);
    } catch (error) {
      if (!this.#mayFail(error)) throw error;
      return null;
    } finally {
      spareBuffers.push(buffer);
    }
  }

  #mayFail(error: unknown): boolean {
    const fault = faultOf(error);
    if (fault === null) return false;
    return this.isDamaged || isFault(fault, "STORAGE_FAILED", "STORAGE_FULL", "ABORTED");
  }
}

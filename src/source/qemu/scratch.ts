import { basename, join } from "node:path";
import { Fault, isFault } from "../../base/fault.ts";
import type { FileSystem, StoredFile } from "../../base/file-system.ts";
import { formatBytes } from "../../base/units.ts";
import type { DiskName, GroupName } from "../../core/ids.ts";
import { createImage } from "../../qemu/image.ts";
import { ownNames, ownPrefix } from "../../qemu/own-names.ts";
import { runTool } from "../../qemu/run-tool.ts";
import {
  scratchNeedBytes,
  scratchShareBytesMin,
  scratchThresholdBytes,
  shareScratch,
} from "./scratch-share.ts";
import type { QemuScratchSettings } from "./settings.ts";

/** An empty overlay, ready for one point, with all its room reserved. */
export interface ScratchFile {
  readonly path: string;
  /** Writing beyond it means that the point has to be given up; null when the room cannot run out. */
  readonly thresholdBytes: number | null;
}

interface Reservation {
  /** Kept open: opening is half of what emptying costs. */
  readonly file: StoredFile;
  readonly diskSizeBytes: number;
  readonly reservedBytes: number;
  /** The overlay's first bytes when it is empty. */
  readonly empty: Uint8Array;
  /** Under way or done since its last point, or null. */
  emptying: Promise<boolean> | null;
}

interface WantedScratch {
  readonly name: DiskName;
  readonly sizeBytes: number;
  readonly needBytes: number;
  readonly shareBytes: number;
}

/**
 * The overlays of one group, one file for each disk, kept between points: emptying one is one write of its first bytes, since
 * what follows is not reached from an empty table. Its room stays reserved.
 */
export class Scratch implements AsyncDisposable {
  readonly #group: GroupName;
  readonly #settings: QemuScratchSettings;
  readonly #files: FileSystem;
  readonly #reservations = new Map<DiskName, Reservation>();

  constructor(group: GroupName, settings: QemuScratchSettings, files: FileSystem) {
    this.#group = group;
    this.#settings = settings;
    this.#files = files;
  }

  get directory(): string {
    return this.#settings.directory;
  }

  /**
   * Empty overlays for these disks. Nothing of a point may be open. STORAGE_FULL before anything is frozen when the cap does
   * not fit on the file system; CONFIG_INVALID when the cap is too small for the disks.
   */
  async prepare(
    disks: readonly { readonly name: DiskName; readonly sizeBytes: number }[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<DiskName, ScratchFile>> {
    const { capBytes } = this.#settings;
    const needs = disks.map(({ sizeBytes }) => scratchNeedBytes(sizeBytes));
    const shares = shareScratch(capBytes, needs);
    const wanted = disks.map((disk, index) => ({
      ...disk,
      needBytes: needs[index]!,
      shareBytes: shares[index]!,
    }));
    const small = wanted.find(
      ({ needBytes, shareBytes }) => shareBytes < Math.min(scratchShareBytesMin, needBytes),
    );
    if (small) {
      const message = `scratch.capBytes of ${formatBytes(capBytes)} is too small for ${disks.length} disks`;
      throw new Fault("CONFIG_INVALID", message, { capBytes, disks: disks.length });
    }
    const ready = await Promise.all(wanted.map((disk) => this.#reuse(disk)));
    const prepared = new Map<DiskName, ScratchFile>();
    for (const [index, disk] of wanted.entries()) {
      const reservation = ready[index] ?? (await this.#reserve(disk, signal));
      prepared.set(disk.name, {
        path: reservation.file.path,
        thresholdBytes: scratchThresholdBytes(disk.shareBytes, disk.needBytes),
      });
    }
    return prepared;
  }

  /**
   * Removes what bears the group's name in the scratch directory, whoever left it, but not this life's overlays nor `inUse`;
   * resolves to the names.
   */
  async removeStale(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    const kept = new Set([...this.#reservations.values()].map(({ file }) => basename(file.path)));
    const names = await this.#files.list(this.directory);
    const own = names.filter((name) => name.startsWith(ownPrefix(this.#group)));
    const stale = own.filter((name) => !inUse.has(name) && !kept.has(name));
    for (const name of stale) await this.#files.removeDirectory(join(this.directory, name));
    return stale;
  }

  /** Gives the reserved room back. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { file, emptying } of this.#reservations.values()) {
      await emptying;
      await file[Symbol.asyncDispose]();
      await this.#files.remove(file.path);
    }
    this.#reservations.clear();
  }

  /**
   * Begins to empty the overlays of these disks, which no QEMU has open any more, so that the next point need not wait for it.
   */
  renew(disks: readonly DiskName[]): void {
    for (const name of disks) {
      const known = this.#reservations.get(name);
      if (known) known.emptying = this.#empty(known);
    }
  }

  /** The disk's overlay of the last point, emptied; null when there is none of the right size with all its room. */
  async #reuse(disk: WantedScratch): Promise<Reservation | null> {
    const known = this.#reservations.get(disk.name);
    if (known?.diskSizeBytes !== disk.sizeBytes) return null;
    if (known.reservedBytes !== disk.shareBytes) return null;
    const emptying = known.emptying ?? this.#empty(known);
    known.emptying = null; // What is handed out now is not empty for long.
    return (await emptying) ? known : null;
  }

  /** False when the file has lost its room, or cannot be written: then it is made anew. */
  async #empty({ file, reservedBytes, empty }: Reservation): Promise<boolean> {
    try {
      const [found] = await Promise.all([this.#files.stat(file.path), file.write(empty, 0)]);
      return found !== null && found.allocatedBytes >= reservedBytes;
    } catch (error) {
      if (isFault(error)) return false;
      throw error;
    }
  }

  async #reserve(disk: WantedScratch, signal: AbortSignal): Promise<Reservation> {
    const { shareBytes } = disk;
    const path = join(this.directory, ownNames(this.#group, disk.name).scratchFile);
    const known = this.#reservations.get(disk.name);
    await known?.emptying;
    await known?.file[Symbol.asyncDispose]();
    this.#reservations.delete(disk.name);
    await this.#files.makeDirectory(this.directory);
    await this.#files.remove(path);
    const freeBytes = await this.#files.freeBytes(this.directory);
    if (freeBytes < shareBytes) throw fullFault(path, shareBytes, freeBytes);
    await createImage(path, { format: "qcow2", sizeBytes: disk.sizeBytes, signal });
    const file = await this.#files.open(path, "write");
    try {
      const empty = new Uint8Array(await file.sizeBytes());
      await file.read(empty, 0);
      await reserveRoom(path, shareBytes, freeBytes, signal);
      const diskSizeBytes = disk.sizeBytes;
      const reservedBytes = shareBytes;
      const reservation = { file, diskSizeBytes, reservedBytes, empty, emptying: null };
      this.#reservations.set(disk.name, reservation);
      return reservation;
    } catch (error) {
      await file[Symbol.asyncDispose]();
      await this.#files.remove(path);
      throw error;
    }
  }
}

/** Allocates the file's room to its end; what is not written reads as zeroes. */
async function reserveRoom(
  path: string,
  lengthBytes: number,
  freeBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const args = ["--posix", "--length", String(lengthBytes), path];
  await runTool("fallocate", args, { signal }).catch((error: unknown) => {
    const isFull = isFault(error, "TOOL_FAILED") && /No space left/.test(error.message);
    throw isFull ? fullFault(path, lengthBytes, freeBytes) : error;
  });
}

function fullFault(path: string, reservedBytes: number, freeBytes: number): Fault {
  const message = `${path}: ${formatBytes(reservedBytes)} of scratch do not fit, ${formatBytes(freeBytes)} are free`;
  return new Fault("STORAGE_FULL", message, { path, reservedBytes, freeBytes });
}

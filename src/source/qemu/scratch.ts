import { basename, join } from "node:path";
import { Fault, isFault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
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
  readonly path: string;
  readonly diskSizeBytes: number;
  readonly reservedBytes: number;
  /** The overlay's first bytes when it is empty. */
  readonly empty: Uint8Array;
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
    const prepared = new Map<DiskName, ScratchFile>();
    const needs = disks.map(({ sizeBytes }) => scratchNeedBytes(sizeBytes));
    const shares = shareScratch(capBytes, needs);
    for (const [index, disk] of disks.entries()) {
      const share = shares[index]!;
      if (share < Math.min(scratchShareBytesMin, needs[index]!)) {
        const message = `scratch.capBytes of ${formatBytes(capBytes)} is too small for ${disks.length} disks`;
        throw new Fault("CONFIG_INVALID", message, { capBytes, disks: disks.length });
      }
      const known = this.#reservations.get(disk.name);
      const isReady =
        known?.diskSizeBytes === disk.sizeBytes &&
        known.reservedBytes === share &&
        (await this.#isReserved(known));
      const reservation = isReady ? known : await this.#reserve(disk, share, signal);
      if (isReady) await this.#empty(reservation);
      prepared.set(disk.name, {
        path: reservation.path,
        thresholdBytes: scratchThresholdBytes(share, needs[index]!),
      });
    }
    return prepared;
  }

  /**
   * Removes what bears the group's name in the scratch directory, whoever left it, but not this life's overlays nor `inUse`;
   * resolves to the names.
   */
  async removeStale(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    const kept = new Set([...this.#reservations.values()].map(({ path }) => basename(path)));
    const names = await this.#files.list(this.directory);
    const own = names.filter((name) => name.startsWith(ownPrefix(this.#group)));
    const stale = own.filter((name) => !inUse.has(name) && !kept.has(name));
    for (const name of stale) await this.#files.removeDirectory(join(this.directory, name));
    return stale;
  }

  /** Gives the reserved room back. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { path } of this.#reservations.values()) await this.#files.remove(path);
    this.#reservations.clear();
  }

  async #isReserved({ path, reservedBytes }: Reservation): Promise<boolean> {
    const found = await this.#files.stat(path);
    return found !== null && found.allocatedBytes >= reservedBytes;
  }

  async #reserve(
    disk: { readonly name: DiskName; readonly sizeBytes: number },
    reservedBytes: number,
    signal: AbortSignal,
  ): Promise<Reservation> {
    const path = join(this.directory, ownNames(this.#group, disk.name).scratchFile);
    this.#reservations.delete(disk.name);
    await this.#files.makeDirectory(this.directory);
    await this.#files.remove(path);
    const freeBytes = await this.#files.freeBytes(this.directory);
    if (freeBytes < reservedBytes) throw fullFault(path, reservedBytes, freeBytes);
    await createImage(path, { format: "qcow2", sizeBytes: disk.sizeBytes, signal });
    const empty = await readWhole(this.#files, path);
    await runTool("fallocate", ["--posix", "--length", String(reservedBytes), path], {
      signal,
    }).catch((error: unknown) => {
      const isFull = isFault(error, "TOOL_FAILED") && /No space left/.test(error.message);
      throw isFull ? fullFault(path, reservedBytes, freeBytes) : error;
    });
    const reservation = { path, diskSizeBytes: disk.sizeBytes, reservedBytes, empty };
    this.#reservations.set(disk.name, reservation);
    return reservation;
  }

  async #empty({ path, empty }: Reservation): Promise<void> {
    await using file = await this.#files.open(path, "write");
    await file.write(empty, 0);
  }
}

async function readWhole(files: FileSystem, path: string): Promise<Uint8Array> {
  await using file = await files.open(path, "read");
  const content = new Uint8Array(await file.sizeBytes());
  await file.read(content, 0);
  return content;
}

function fullFault(path: string, reservedBytes: number, freeBytes: number): Fault {
  const message = `${path}: ${formatBytes(reservedBytes)} of scratch do not fit, ${formatBytes(freeBytes)} are free`;
  return new Fault("STORAGE_FULL", message, { path, reservedBytes, freeBytes });
}

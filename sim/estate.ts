import assert from "node:assert/strict";
import { type DiskName, type MachineName, machineOf } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { type Bitmap, copyBitmap } from "./bitmap.ts";
import { DiskImage } from "./disk-image.ts";

/** A disk of the estate with what QEMU keeps about it. */
export interface EstateDisk {
  readonly name: DiskName;
  /** Whether its format can keep bitmaps (qcow2) or not (raw). */
  readonly canPersist: boolean;
  image: DiskImage;
  bitmaps: Map<string, Bitmap>;
  /** The point in time that is being read from it, at most one. */
  fleece: Fleece | null;
}

/** A copy-before-write of one disk. */
export interface Fleece {
  readonly owner: string;
  readonly at: DiskImage;
  /** Blocks the guest overwrote since: what scratch has to hold. */
  readonly copied: Set<number>;
  readonly scratchFile: string;
  /** Called when it cannot be held any longer. */
  readonly onLost: (cause: "scratch full" | "machine gone") => void;
  readonly scratchBlocksMax: number;
}

export interface EstateMachine {
  readonly name: MachineName;
  isRunning: boolean;
  /** Held by the barrier: its guest cannot write. */
  isPaused: boolean;
  /** Paused by us because it was overtaken; only a person lets it run again. */
  isPausedForGood: boolean;
  /** Counts starts: whoever holds a connection to an earlier one has lost it. */
  session: number;
}

/** An image file copied at some time, with the bitmaps that were stored in it. */
export interface ImageCopy {
  readonly image: DiskImage;
  readonly bitmaps: readonly Bitmap[];
  readonly canPersist: boolean;
}

/** The protected site: machines and disks, which outlive every process of ours. Everything here happens at once. */
export class Estate {
  readonly machines = new Map<MachineName, EstateMachine>();
  readonly disks = new Map<DiskName, EstateDisk>();
  /** Told of everything that changes a disk. */
  onChange: (disk: DiskName) => void = () => {};
  /** Files that bear our prefix on the host's scratch. */
  readonly scratchFiles = new Set<string>();

  addMachine(name: MachineName, options: { isRunning: boolean } = { isRunning: true }): void {
    assert(!this.machines.has(name));
    const { isRunning } = options;
    const state = { isRunning, isPaused: false, isPausedForGood: false, session: 1 };
    this.machines.set(name, { name, ...state });
  }

  /** The disk's machine is added, running, when it is not there. */
  addDisk(name: DiskName, options: { sizeBytes: number; canPersist?: boolean }): void {
    assert(!this.disks.has(name));
    if (!this.machines.has(machineOf(name))) this.addMachine(machineOf(name));
    const image = new DiskImage(options.sizeBytes);
    const canPersist = options.canPersist ?? true;
    this.disks.set(name, { name, canPersist, image, bitmaps: new Map(), fleece: null });
  }

  removeDisk(name: DiskName): void {
    this.dropFleece(this.disk(name), "machine gone");
    this.disks.delete(name);
  }

  disk(name: DiskName): EstateDisk {
    const found = this.disks.get(name);
    assert(found, `no disk ${name}`);
    return found;
  }

  machine(name: MachineName): EstateMachine {
    const found = this.machines.get(name);
    assert(found, `no machine ${name}`);
    return found;
  }

  disksOf(machine: MachineName): readonly EstateDisk[] {
    return [...this.disks.values()].filter((disk) => machineOf(disk.name) === machine);
  }

  /** A guest's write. False when its machine is not running or held. */
  write(name: DiskName, offsetBytes: number, data: Uint8Array): boolean {
    if (!this.canWrite(name)) return false;
    this.touch(name, offsetBytes, data.length);
    this.disk(name).image.write(offsetBytes, data);
    return true;
  }

  /** A guest's discard, or write of zeroes. */
  trim(name: DiskName, offsetBytes: number, lengthBytes: number): boolean {
    if (!this.canWrite(name)) return false;
    this.touch(name, offsetBytes, lengthBytes);
    this.disk(name).image.zero(offsetBytes, lengthBytes);
    return true;
  }

  /**
   * Refused (false) while a point in time is read from the disk, as QEMU does. Bitmaps forget what is cut off and call a new tail
   * clean.
   */
  resize(name: DiskName, sizeBytes: number): boolean {
    const disk = this.disk(name);
    if (disk.fleece) return false;
    this.onChange(name);
    disk.image.resize(sizeBytes);
    for (const bitmap of disk.bitmaps.values()) {
      for (const block of bitmap.dirty)
        if (block >= disk.image.blockCount) bitmap.dirty.delete(block);
    }
    return true;
  }

  /** SIGKILL of the machine's QEMU. */
  killMachine(name: MachineName): void {
    this.endMachine(name, (bitmap) => {
      if (!bitmap.isStored) return false;
      bitmap.isInconsistent = true;
      bitmap.isRecording = false;
      bitmap.dirty.clear();
      return true;
    });
  }

  /** A clean stop: persistent bitmaps are written into the image. */
  stopMachine(name: MachineName): void {
    this.endMachine(name, (bitmap) => {
      bitmap.isStored = bitmap.isPersistent;
      return bitmap.isStored;
    });
  }

  /** What was being read from its stopped image is lost. */
  startMachine(name: MachineName): void {
    const machine = this.machine(name);
    assert(!machine.isRunning);
    for (const disk of this.disksOf(name)) this.dropFleece(disk, "machine gone");
    machine.isRunning = true;
    machine.session += 1;
  }

  /** `cp` of the image file; of a running machine the bitmaps in it are in use, hence inconsistent. */
  copyImage(name: DiskName): ImageCopy {
    const { image, bitmaps, canPersist } = this.disk(name);
    const isRunning = this.machine(machineOf(name)).isRunning;
    const stored = [...bitmaps.values()].filter((bitmap) => bitmap.isStored).map(copyBitmap);
    if (isRunning) for (const bitmap of stored) bitmap.isInconsistent = true;
    return { image: image.capture(), bitmaps: stored, canPersist };
  }

  /** Puts a copied image in a disk's place while its machine is stopped. */
  putImage(name: DiskName, copy: ImageCopy): void {
    const disk = this.disk(name);
    assert(
      !this.machine(machineOf(name)).isRunning &&
        !disk.fleece &&
        disk.canPersist === copy.canPersist,
    );
    if (!disk.image.isSameAs(copy.image)) this.onChange(name);
    disk.image = copy.image.capture();
    disk.bitmaps = new Map(copy.bitmaps.map((bitmap) => [bitmap.name, copyBitmap(bitmap)]));
  }

  /** Our process died: the barrier's guard lets the machines run; what we had opened in QEMU stays. */
  releaseBarrier(): void {
    for (const machine of this.machines.values()) machine.isPaused = false;
  }

  private canWrite(name: DiskName): boolean {
    const machine = this.machine(machineOf(name));
    return machine.isRunning && !machine.isPaused && !machine.isPausedForGood;
  }

  private touch(name: DiskName, offsetBytes: number, lengthBytes: number): void {
    this.onChange(name);
    const disk = this.disk(name);
    const first = Math.floor(offsetBytes / blockSizeBytes);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / blockSizeBytes);
    for (let block = first; block <= last; block += 1) {
      for (const bitmap of disk.bitmaps.values()) if (bitmap.isRecording) bitmap.dirty.add(block);
      disk.fleece?.copied.add(block);
    }
    const fleece = disk.fleece;
    if (fleece && fleece.copied.size > fleece.scratchBlocksMax)
      this.dropFleece(disk, "scratch full");
  }

  private endMachine(name: MachineName, keepsBitmap: (bitmap: Bitmap) => boolean): void {
    const machine = this.machine(name);
    assert(machine.isRunning);
    machine.isRunning = false;
    machine.isPaused = false;
    machine.isPausedForGood = false;
    for (const disk of this.disksOf(name)) {
      this.dropFleece(disk, "machine gone");
      for (const bitmap of [...disk.bitmaps.values()]) {
        if (!keepsBitmap(bitmap)) disk.bitmaps.delete(bitmap.name);
      }
    }
  }

  private dropFleece(disk: EstateDisk, cause: "scratch full" | "machine gone"): void {
    const fleece = disk.fleece;
    if (!fleece) return;
    disk.fleece = null;
    fleece.onLost(cause);
  }
}

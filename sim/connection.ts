import type { Clock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import { type DiskName, type GroupName, type MachineName, machineOf } from "../src/core/ids.ts";
import { makeBitmap } from "./bitmap.ts";
import type { DiskImage } from "./disk-image.ts";
import type { Estate, EstateDisk, EstateMachine } from "./estate.ts";
import { freeSteps, type Steps } from "./steps.ts";

export interface SimSourceOptions {
  readonly estate: Estate;
  readonly group: GroupName;
  /** The group's disks as configured. */
  readonly disks: readonly DiskName[];
  readonly clock: Clock;
  readonly steps?: Steps;
  /** Blocks per disk that a guest may overwrite while a point is read. */
  readonly scratchBlocksMax?: number;
  /** Told at the instant of each point what the disks held, also when the point comes to nothing. */
  readonly onInstant?: (id: string, disks: ReadonlyMap<DiskName, DiskImage>) => void;
}

/** One process's connection to the estate, with its options made whole. */
export interface Connection extends Required<SimSourceOptions> {
  /** The group's machines, in the order of its disks. */
  readonly machines: () => readonly MachineName[];
  /** DISK_MISSING when the estate has none of that name. */
  readonly findDisk: (name: DiskName) => EstateDisk;
  /**
   * One command to a machine: it may fail before its effect, or its answer may be lost after it. The effect is atomic.
   */
  readonly command: <Value>(
    label: string,
    signal: AbortSignal | null,
    effect: () => Value,
  ) => Promise<Value>;
}

/** What scratch files of a group begin with. */
export function scratchPrefix(group: GroupName): string {
  return `afterimage-${group}-`;
}

/** The machine is not there to answer. */
export function machineGone(disk: DiskName): Fault {
  return new Fault("QMP_CLOSED", `${machineOf(disk)} is gone`, { machine: machineOf(disk) });
}

/** A new bitmap; one added to a stopped machine's image is stored at once. */
export function addBitmap(
  disk: EstateDisk,
  name: string,
  options: { isRecording: boolean; isRunning: boolean; dirty?: Iterable<number> },
): void {
  const { sizeBytes } = disk.image;
  const bitmap = makeBitmap(name, { isPersistent: disk.canPersist, sizeBytes, ...options });
  bitmap.isStored = disk.canPersist && !options.isRunning;
  disk.bitmaps.set(name, bitmap);
}

/** Makes the options whole. */
export function connect(options: SimSourceOptions): Connection {
  const whole = {
    steps: freeSteps,
    scratchBlocksMax: Number.POSITIVE_INFINITY,
    onInstant: () => {},
    ...options,
  };
  return {
    ...whole,
    machines: () => [...new Set(options.disks.map(machineOf))].filter(isKnownIn(options.estate)),
    findDisk: (name) => {
      const disk = options.estate.disks.get(name);
      if (!disk) throw new Fault("DISK_MISSING", `no disk ${name}`, { disk: name });
      return disk;
    },
    command: async (label, signal, effect) => {
      signal?.throwIfAborted();
      await whole.steps.pass(label);
      signal?.throwIfAborted();
      const value = effect();
      await whole.steps.pass(`${label} answered`);
      return value;
    },
  };
}

function isKnownIn(estate: Estate): (machine: MachineName) => boolean {
  return (machine) => estate.machines.has(machine);
}

/** The running state that a connection was opened in; a later one means that what was held is gone. */
export function sessionOf(machine: EstateMachine): string {
  return `${machine.session}${machine.isRunning ? "+" : "-"}`;
}

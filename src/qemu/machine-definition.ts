import { z } from "zod";
import { GIB, MIB } from "../base/units.ts";
import { nameLengthMax } from "../core/limits.ts";

/** virtio-blk keeps 20 bytes of a serial (virtio 1.2, 5.2.6 "VIRTIO_BLK_T_GET_ID"). */
export const diskSerialLengthMax = 20;
/** Disks that fit on the slots of one machine's root bus beside what it needs itself. */
export const machineDisksMax = 24;
const memoryBytesMin = 64 * MIB;
const memoryBytesMax = 16_384 * GIB;
const cpuCountMax = 288; // "q35" takes no more without an interrupt remapper.

// These become parts of command-line options: nothing that QEMU's option parser reads as syntax may be in them.
const wordSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
  .max(nameLengthMax);

const diskSchema = z.strictObject({
  /** The disk part of the disk's name in its group. */
  name: wordSchema,
  /** How the guest tells the disk from others; null when it had none. */
  serial: z
    .string()
    .regex(/^[A-Za-z0-9._-]*$/)
    .max(diskSerialLengthMax)
    .nullable(),
  /** Place in the boot order, from 0; null when the machine does not boot from it. */
  bootIndex: z.int().min(0).max(machineDisksMax).nullable(),
});

/**
 * What is needed to build a machine around its disks again: travels with every point as `MachineDescription.definition` of
 * platform "qemu". Nothing in it names a file or a network of the protected site.
 */
export const machineDefinitionSchema = z.strictObject({
  machineType: wordSchema,
  cpuCount: z.int().min(1).max(cpuCountMax),
  memoryBytes: z.int().min(memoryBytesMin).max(memoryBytesMax),
  disks: z.array(diskSchema).max(machineDisksMax),
});

export type MachineDefinition = z.infer<typeof machineDefinitionSchema>;
/** A disk as the guest finds it. */
export type MachineDefinitionDisk = MachineDefinition["disks"][number];

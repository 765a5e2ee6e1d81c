import { KIB, MIB, TIB } from "../base/units.ts";

/** Smallest addressable unit of a virtual disk; every offset and length is a multiple of it. */
export const sectorSizeBytes = 512;
/** The unit of change tracking and of hashes: QEMU's default dirty bitmap granularity for 64 KiB clusters. */
export const blockSizeBytes = 64 * KIB;
/** A chunk lies inside one aligned window of this size. */
export const windowSizeBytes = MIB;
/** Pieces in one chunk: a window has this many blocks. */
export const chunkPiecesMax = windowSizeBytes / blockSizeBytes;
/** Length of a SHA-256 (FIPS 180-4). */
export const hashLengthBytes = 32;
/** Largest virtual disk: offsets stay well inside 2^53. */
export const diskSizeBytesMax = 4096 * TIB;
/** Disks in one group, over all its machines; a delta's index has 16 bits for the disk. */
export const groupDisksMax = 1024;
/** Machines in one group. */
export const groupMachinesMax = 256;
/** Characters of a group's, machine's or disk's name. */
export const nameLengthMax = 63;

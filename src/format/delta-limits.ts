import assert from "node:assert/strict";
import { KIB, MIB, TIB } from "../base/units.ts";

// The numbers of delta format version 1. They are frozen with it, whatever becomes of the product's own limits.

/** The version that this program writes, and the newest it reads. */
export const deltaVersion = 1;
/** Disk offsets and lengths are counted in sectors of this size. */
export const sectorSizeBytes = 512;
/** A chunk's pieces are cut at multiples of this, counted on the disk. */
export const pieceSpanBytes = 64 * KIB;
/** A data extent lies inside one aligned span of this size. */
export const chunkSpanBytes = MIB;
/** A zero extent lies inside one aligned span of this size, so that its length fits 32 bits of sectors. */
export const zeroSpanBytes = TIB;
/** SHA-256 (FIPS 180-4). */
export const hashLengthBytes = 32;
/** Header, as canonical JSON. */
export const headerLengthBytesMax = 4 * MIB;
/** Entries of one index: a quarter GiB of index, 4 TiB of whole windows. */
export const indexEntriesMax = 4 * MIB;
/** Largest disk: offsets stay well inside 2^53. */
export const diskSizeBytesMax = 4096 * TIB;
/** Disks of one delta. */
export const disksMax = 1024;
/** Machines of one delta. */
export const machinesMax = 256;
/** A machine's definition, as canonical JSON. */
export const definitionLengthBytesMax = 256 * KIB;
/** Notes of one delta. */
export const notesMax = 1024;
/** Characters of a note or a reason. */
export const sentenceLengthMax = 1024;
/** Nesting of arrays and objects in canonical JSON. */
export const jsonDepthMax = 64;

/** Of the first part of a file. */
export const prologueLengthBytes = 64;
/** Of the last part of a file. */
export const trailerLengthBytes = 192;
/** Of an entry in the index's logical table. */
export const logicalEntryLengthBytes = 48;
/** Of an entry in the index's placement table. */
export const placementEntryLengthBytes = 16;
/** CRC-32 behind a compressed payload. */
export const payloadCrcLengthBytes = 4;

assert(pieceSpanBytes % sectorSizeBytes === 0 && chunkSpanBytes % pieceSpanBytes === 0);
assert(zeroSpanBytes / sectorSizeBytes < 2 ** 32);

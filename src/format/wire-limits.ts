import { KIB, MIB } from "../base/units.ts";
import { pieceSpanBytes } from "./delta-limits.ts";

// The numbers of wire protocol version 1 (docs/format/wire.md). They are frozen with it.

/** The versions that this program speaks. */
export const wireVersions: WireVersions = { min: 1, max: 1 };

/** A range of protocol versions, both ends included. */
export interface WireVersions {
  readonly min: number;
  readonly max: number;
}

/** Of the part that every frame begins with. */
export const frameHeaderLengthBytes = 32;
/** Of the part that a chunk's body begins with. */
export const chunkHeaderLengthBytes = 24;
/** A delta's header has 4 MiB at most; a call or answer that carries one has room for what stands around it. */
export const jsonBodyLengthBytesMax = 6 * MIB;
/** Before the peer has introduced itself nothing long is taken. */
export const helloLengthBytesMax = 4 * KIB;
/** A fault's code, message and details. */
export const faultLengthBytesMax = 128 * KIB;
/** Blocks whose hashes one call asks for. */
export const hashesBlocksMax = 2048;
/** Requests that a session may have outstanding, answered ones included whose answers were not confirmed. */
export const requestsOutstandingMax = 8192;
/** Of these, calls; chunks are held by the grant. */
export const callsOutstandingMax = 1024;
/** Channels named in one resume. */
export const resumeChannelsMax = 64;
/** Ranges in one `received`. */
export const receivedRangesMax = 1024;
/** Session and life ids. */
export const sessionIdLengthBytes = 16;

/** Pieces of one chunk. */
export const chunkPiecesMax = MIB / pieceSpanBytes;
/** A chunk's body: its header, a piece list and a payload that is not longer than the data. */
export const chunkBodyLengthBytesMax = chunkHeaderLengthBytes + chunkPiecesMax * 32 + MIB;

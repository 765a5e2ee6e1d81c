import assert from "node:assert/strict";
import { GIB, KIB, MIB } from "../base/units.ts";

/** Longest string of the protocol (doc/proto.md, "Values": 4096 bytes). */
export const stringBytesMax = 4096;
/** Longest option a client may send us. */
export const optionBytesMax = 64 * KIB;
/** Options in one handshake. */
export const optionsMax = 256;
/** Longest answer to an option a server may send us: two strings and their lengths. */
export const optionReplyBytesMax = 2 * stringBytesMax + 64;
/** Answers to one option: exports in a LIST, contexts of one export. */
export const optionRepliesMax = 16_384;
/** Metadata contexts of one export that a client may select. */
export const metaContextsMax = 64;
/** Longest payload of one request or reply; also what the specification tells a client to assume when a server says nothing. */
export const payloadBytesMax = 32 * MIB;
/** Block size to assume and to advertise when nobody says otherwise. */
export const preferredBlockBytes = 4 * KIB;
/** Smallest block a server may insist on (doc/proto.md: at most 64 KiB, a power of two). */
export const minimumBlockBytesMax = 64 * KIB;
/** One WRITE_ZEROES, TRIM or CACHE: these carry no payload, but older servers count in signed 32 bits. */
export const effectBytesMax = GIB;
/** One BLOCK_STATUS; the protocol has 32 bits for it. */
export const statusBytesMax = 2 * GIB;
/** Descriptors of one context in one BLOCK_STATUS reply that we take (nbdkit sends at most this many). */
export const descriptorsReceivedMax = 1024 * KIB;
/** Descriptors in one BLOCK_STATUS reply that we send: 64 KiB; a client asks again for the rest. */
export const descriptorsSentMax = 8 * KIB;
/** What composing such a reply may take in memory: runs are objects before they are bytes. */
export const statusMemoryBytes = 512 * KIB;
/** Chunks of one structured reply that we take: the largest payload, torn into sectors. */
export const replyChunksMax = 64 * KIB + 64;
/** Error chunk: two lengths, an offset and a message. */
export const errorChunkBytesMax = stringBytesMax + 14;

assert(statusBytesMax < 2 ** 32 && effectBytesMax < 2 ** 32);
// A request below this size must not be refused for being unfragmented (doc/proto.md, CMD_READ).
assert(payloadBytesMax >= 65_536);

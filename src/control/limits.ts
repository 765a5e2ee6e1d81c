import { MIB } from "../base/units.ts";

/** Longest line of a request: it may name every point of a group. */
export const controlRequestLengthMax = 4 * MIB;
/** Longest line of an answer: a scrub names every point it found good. */
export const controlReplyLengthMax = 16 * MIB;
/** Connections at once; further ones are closed. */
export const controlConnectionsMax = 16;
/** How long a client may take to say what it wants. */
export const controlRequestTimeoutMs = 10_000;
/** How long a writer may take to accept a connection. */
export const controlConnectTimeoutMs = 5_000;

/**
 * Numbers of the NBD protocol, from its specification (NetworkBlockDevice/nbd, doc/proto.md). All fields on the wire are
 * big-endian. Names follow the specification without its NBD_ prefixes.
 */

/** "NBDMAGIC": the first eight bytes of every server. */
export const greetingMagic = 0x4e42444d41474943n;
/** "IHAVEOPT": second magic of a newstyle server, first of every option. */
export const optionMagic = 0x49484156454f5054n;
/** Second magic of an oldstyle server, which cannot negotiate. */
export const oldstyleMagic = 0x00420281861253n;
export const optionReplyMagic = 0x0003e889045565a9n;
export const requestMagic = 0x25609513;
export const simpleReplyMagic = 0x67446698;
export const structuredReplyMagic = 0x668e33ef;

/** Lengths of the fixed parts, in bytes. */
export const greetingBytes = 18;
export const optionHeaderBytes = 16;
export const optionReplyHeaderBytes = 20;
export const requestHeaderBytes = 28;
export const simpleReplyBytes = 16;
export const structuredReplyHeaderBytes = 20;
/** Zeroes after the answer to EXPORT_NAME, unless both sides set NO_ZEROES. */
export const exportNamePaddingBytes = 124;

/** Bits of the server's handshake flags (16) and, with the same meaning, of the client's (32). */
export const handshakeFlag = { fixedNewstyle: 0x1, noZeroes: 0x2 } as const;

/** Bits of the transmission flags: what the export can do. */
export const transmissionFlag = {
  hasFlags: 0x1,
  readOnly: 0x2,
  sendFlush: 0x4,
  sendFua: 0x8,
  rotational: 0x10,
  sendTrim: 0x20,
  sendWriteZeroes: 0x40,
  sendDf: 0x80,
  canMultiConn: 0x100,
  sendCache: 0x400,
  sendFastZero: 0x800,
} as const;

/** Options of the handshake: what a client asks. */
export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

/** Types of answers to options that are no errors. */
export const optionReply = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;

/** From here on an option reply is an error. */
export const optionErrorMin = 0x80000000;
/** Types of answers to options that are errors. */
export const optionError = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
} as const;

/** Kinds of information in the answer to INFO and GO. */
export const info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** Request types of the transmission phase. */
export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** Bits of a request's flags. */
export const commandFlag = { fua: 0x1, noHole: 0x2, df: 0x4, reqOne: 0x8, fastZero: 0x10 } as const;

/** Of a structured reply's chunk. */
export const chunkFlag = { done: 0x1 } as const;
/** Types of a structured reply's chunks. */
export const chunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;
/** Chunk types from here on are errors. */
export const chunkErrorMin = 0x8000;

/** The metadata context that the specification itself defines, and its status bits. */
export const baseAllocation = "base:allocation";
export const allocationFlag = { hole: 0x1, zero: 0x2 } as const;

const commandNames = new Map<number, string>(
  Object.entries(command).map(([name, number]) => [number, name]),
);

/** A command's name for messages. */
export function commandName(number: number): string {
  return commandNames.get(number) ?? `command ${number}`;
}

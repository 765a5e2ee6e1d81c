import { errno } from "./errno.ts";
import { payloadBytesMax, statusMemoryBytes } from "./limits.ts";
import { command, commandFlag, requestMagic } from "./protocol.ts";
import { blockSizesOf, isReadOnly } from "./server-flags.ts";
import type { Session } from "./server-handshake.ts";
import { readUint64 } from "./wire.ts";

/** A request as it was read. */
export interface ServerRequest {
  readonly command: number;
  readonly flags: number;
  /** Opaque to us, echoed in the reply; two halves so that nothing is allocated for it. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Infinity when it is above 2^53: it lies outside of every export. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Reads a request's header; null when it does not begin with the magic. */
export function decodeRequest(header: Buffer): ServerRequest | null {
  if (header.readUInt32BE(0) !== requestMagic) return null;
  return {
    flags: header.readUInt16BE(4),
    command: header.readUInt16BE(6),
    cookieHigh: header.readUInt32BE(8),
    cookieLow: header.readUInt32BE(12),
    offsetBytes: readUint64(header, 16) ?? Number.POSITIVE_INFINITY,
    lengthBytes: header.readUInt32BE(24),
  };
}

/** Bytes that this request will hold in memory. */
export function memoryBytesOf(request: ServerRequest): number {
  if (request.command === command.blockStatus) return statusMemoryBytes;
  const hasPayload = request.command === command.read || request.command === command.write;
  return hasPayload ? Math.min(request.lengthBytes, payloadBytesMax) : 0;
}

interface Rule {
  /** Flags that may be set, besides FUA. */
  readonly flags: number;
  readonly changes: boolean;
  readonly isOffered: (session: Session) => boolean;
}

const always = () => true;
const rules: Readonly<Record<number, Rule>> = {
  [command.read]: { flags: commandFlag.df, changes: false, isOffered: always },
  [command.write]: { flags: 0, changes: true, isOffered: always },
  [command.flush]: {
    flags: 0,
    changes: false,
    isOffered: ({ found }) => found.flush !== undefined,
  },
  [command.trim]: { flags: 0, changes: true, isOffered: ({ found }) => found.trim !== undefined },
  [command.cache]: {
    flags: 0,
    changes: false,
    isOffered: ({ found }) => found.cache !== undefined,
  },
  [command.writeZeroes]: {
    flags: commandFlag.noHole | commandFlag.fastZero,
    changes: true,
    isOffered: ({ found }) => found.zero !== undefined,
  },
  [command.blockStatus]: {
    flags: commandFlag.reqOne,
    changes: false,
    isOffered: ({ hasAllocation }) => hasAllocation,
  },
};

/** The error number a request deserves before the export is asked (doc/proto.md, "Error values"), or null. */
export function refuse(request: ServerRequest, session: Session): number | null {
  const rule = rules[request.command];
  const { found } = session;
  if (rule === undefined) return errno.EINVAL;
  if (rule.changes && isReadOnly(found)) return errno.EPERM;
  const fua = found.flush === undefined ? 0 : commandFlag.fua;
  if (!rule.isOffered(session) || (request.flags & ~(rule.flags | fua)) !== 0) return errno.EINVAL;
  if ((request.flags & commandFlag.fastZero) !== 0 && !(found.zeroesFast ?? false)) {
    return errno.EINVAL;
  }
  if ((request.flags & commandFlag.df) !== 0 && !session.hasStructuredReplies) return errno.EINVAL;
  const { offsetBytes, lengthBytes } = request;
  if (request.command === command.flush) {
    return offsetBytes === 0 && lengthBytes === 0 ? null : errno.EINVAL;
  }
  return refusePlace(request, session);
}

function refusePlace(request: ServerRequest, session: Session): number | null {
  const { offsetBytes, lengthBytes } = request;
  const { sizeBytes } = session.found;
  const { minimumBytes, maximumBytes } = blockSizesOf(session.found);
  const grows = request.command === command.write || request.command === command.writeZeroes;
  if (lengthBytes === 0) return errno.EINVAL;
  if (offsetBytes + lengthBytes > sizeBytes) return grows ? errno.ENOSPC : errno.EINVAL;
  const hasPayload = request.command === command.read || request.command === command.write;
  if (hasPayload && lengthBytes > maximumBytes) return errno.EINVAL;
  const isTail = offsetBytes + lengthBytes === sizeBytes;
  const isAligned =
    offsetBytes % minimumBytes === 0 && (lengthBytes % minimumBytes === 0 || isTail);
  return isAligned ? null : errno.EINVAL;
}

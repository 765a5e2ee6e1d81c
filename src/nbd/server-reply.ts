import { errnoName } from "./errno.ts";
import {
  chunkFlag,
  chunkType,
  command,
  simpleReplyBytes,
  simpleReplyMagic,
  structuredReplyHeaderBytes,
  structuredReplyMagic,
} from "./protocol.ts";
import type { ServerRequest } from "./server-request.ts";
import { writeUint64 } from "./wire.ts";

/** Header of a simple reply; for READ without error the payload follows. */
export function simpleReply(request: ServerRequest, error: number): Buffer {
  const bytes = Buffer.allocUnsafe(simpleReplyBytes);
  bytes.writeUInt32BE(simpleReplyMagic, 0);
  bytes.writeUInt32BE(error, 4);
  writeCookie(bytes, request);
  return bytes;
}

/** The answer to a request that carries no data; error 0 is success. */
export function plainReply(
  request: ServerRequest,
  error: number,
  hasStructuredReplies: boolean,
): Buffer {
  const mustBeStructured =
    request.command === command.read || request.command === command.blockStatus;
  if (!hasStructuredReplies || (error === 0 && !mustBeStructured)) {
    return simpleReply(request, error);
  }
  const message = Buffer.from(errnoName(error), "utf8");
  const payload = Buffer.alloc(6);
  payload.writeUInt32BE(error, 0);
  payload.writeUInt16BE(message.length, 4);
  const last = { isLast: true, type: chunkType.error };
  const header = chunkHeader(request, last, payload.length + message.length);
  return Buffer.concat([header, payload, message]);
}

interface Chunk {
  readonly isLast: boolean;
  readonly type: number;
}

/** Header of a data chunk; `lengthBytes` of data follow. */
export function dataChunk(
  request: ServerRequest,
  isLast: boolean,
  run: { readonly offsetBytes: number; readonly lengthBytes: number },
): Buffer {
  const bytes = chunkHeader(
    request,
    { isLast, type: chunkType.offsetData },
    8 + run.lengthBytes,
    8,
  );
  writeUint64(bytes, run.offsetBytes, structuredReplyHeaderBytes);
  return bytes;
}

/** A whole hole chunk. */
export function holeChunk(
  request: ServerRequest,
  isLast: boolean,
  run: { readonly offsetBytes: number; readonly lengthBytes: number },
): Buffer {
  const bytes = chunkHeader(request, { isLast, type: chunkType.offsetHole }, 12, 12);
  writeUint64(bytes, run.offsetBytes, structuredReplyHeaderBytes);
  bytes.writeUInt32BE(run.lengthBytes, structuredReplyHeaderBytes + 8);
  return bytes;
}

/** The whole, last chunk of a BLOCK_STATUS reply for one context. */
export function statusChunk(
  request: ServerRequest,
  contextId: number,
  runs: readonly { readonly lengthBytes: number; readonly flags: number }[],
): Buffer {
  const payloadBytes = 4 + 8 * runs.length;
  const last = { isLast: true, type: chunkType.blockStatus };
  const bytes = chunkHeader(request, last, payloadBytes, payloadBytes);
  bytes.writeUInt32BE(contextId, structuredReplyHeaderBytes);
  let at = structuredReplyHeaderBytes + 4;
  for (const run of runs) {
    bytes.writeUInt32BE(run.lengthBytes, at);
    bytes.writeUInt32BE(run.flags, at + 4);
    at += 8;
  }
  return bytes;
}

/** A chunk's header, with room for the first `roomBytes` of its payload. */
function chunkHeader(
  request: ServerRequest,
  chunk: Chunk,
  payloadBytes: number,
  roomBytes = 0,
): Buffer {
  const bytes = Buffer.allocUnsafe(structuredReplyHeaderBytes + roomBytes);
  bytes.writeUInt32BE(structuredReplyMagic, 0);
  bytes.writeUInt16BE(chunk.isLast ? chunkFlag.done : 0, 4);
  bytes.writeUInt16BE(chunk.type, 6);
  writeCookie(bytes, request);
  bytes.writeUInt32BE(payloadBytes, 16);
  return bytes;
}

function writeCookie(bytes: Buffer, request: ServerRequest): void {
  bytes.writeUInt32BE(request.cookieHigh, 8);
  bytes.writeUInt32BE(request.cookieLow, 12);
}

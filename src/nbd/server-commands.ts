import assert from "node:assert/strict";
import { KIB, MIB } from "../base/units.ts";
import type { Extent } from "../core/extent.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { settleAll } from "./client-access.ts";
import { descriptorsSentMax } from "./limits.ts";
import { allocationFlag, command, commandFlag } from "./protocol.ts";
import { allocationContextId, type Session } from "./server-handshake.ts";
import { dataChunk, holeChunk, plainReply, simpleReply, statusChunk } from "./server-reply.ts";
import type { ServerRequest } from "./server-request.ts";
import type { ServerSocket } from "./server-socket.ts";

/** Shorter reads are sent as data without looking for holes. */
const sparseReadMinBytes = 16 * KIB;
/** A read that falls into more runs is sent as data in one chunk. */
const sparseRunsMax = 64;
/** An export is first asked for the extents of this much, then of twice as much, and so on: one run may be all that is wanted. */
const extentStepMinBytes = MIB;
const extentStepMaxBytes = 256 * MIB;

/** What a command needs besides itself. */
export interface Service {
  readonly socket: ServerSocket;
  readonly session: Session;
  readonly buffers: BufferPool;
}

/** Does a request that was not refused and answers it. Rejects, without having answered, when the export could not. */
export async function perform(
  service: Service,
  request: ServerRequest,
  payload: Uint8Array | null,
): Promise<void> {
  if (request.command === command.read) return await sendRead(service, request);
  if (request.command === command.blockStatus) return await sendStatus(service, request);
  await change(service, request, payload);
  const { hasStructuredReplies } = service.session;
  await service.socket.send(plainReply(request, 0, hasStructuredReplies));
}

async function change(service: Service, request: ServerRequest, payload: Uint8Array | null) {
  const { found } = service.session;
  const signal = service.socket.ended;
  const { offsetBytes, lengthBytes } = request;
  switch (request.command) {
    case command.write:
      assert(payload !== null && found.write !== undefined);
      await found.write(offsetBytes, payload, signal);
      break;
    case command.writeZeroes: {
      const mayPunch = (request.flags & commandFlag.noHole) === 0;
      await found.zero?.(offsetBytes, lengthBytes, { mayPunch, signal });
      break;
    }
    case command.trim:
      await found.trim?.(offsetBytes, lengthBytes, signal);
      break;
    case command.cache:
      await found.cache?.(offsetBytes, lengthBytes, signal);
      break;
    default:
      assert(request.command === command.flush);
      await found.flush?.(signal);
  }
  if ((request.flags & commandFlag.fua) !== 0) await found.flush?.(signal);
}

async function sendRead(service: Service, request: ServerRequest): Promise<void> {
  const { session } = service;
  if (!session.hasStructuredReplies) {
    return await sendWhole(service, request, simpleReply(request, 0));
  }
  const runs = await sparseRuns(service, request);
  if (runs.length > 1 || runs[0]?.state === "zero") return await sendRuns(service, request, runs);
  await sendWhole(service, request, dataChunk(request, true, request));
}

/** Reads all, then sends it behind `header`. */
async function sendWhole(service: Service, request: ServerRequest, header: Buffer): Promise<void> {
  const { socket, session, buffers } = service;
  const data = buffers.take(request.lengthBytes);
  try {
    await session.found.read(request.offsetBytes, data, socket.ended);
    await socket.send(header, data);
  } finally {
    buffers.give(data);
  }
}

/** What the read consists of, empty when that is not worth asking. */
async function sparseRuns(service: Service, request: ServerRequest): Promise<readonly Extent[]> {
  const { found } = service.session;
  const mayFragment = (request.flags & commandFlag.df) === 0;
  if (found.extents === undefined || !mayFragment) return [];
  if (request.lengthBytes < sparseReadMinBytes) return [];
  const { offsetBytes, lengthBytes } = request;
  const runs = await found.extents(offsetBytes, lengthBytes, service.socket.ended);
  const last = runs.at(-1);
  const isWhole =
    last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes + lengthBytes;
  return isWhole && runs.length <= sparseRunsMax ? runs : [];
}

/** Reads all data first: once a chunk of a reply is out, an error could not take it back. */
async function sendRuns(
  service: Service,
  request: ServerRequest,
  runs: readonly Extent[],
): Promise<void> {
  const { socket, session, buffers } = service;
  const held: Buffer[] = [];
  try {
    const parts: Uint8Array[] = [];
    const reads: Promise<void>[] = [];
    for (const [index, run] of runs.entries()) {
      const isLast = index === runs.length - 1;
      if (run.state === "zero") parts.push(holeChunk(request, isLast, run));
      else {
        const data = buffers.take(run.lengthBytes);
        held.push(data);
        reads.push(session.found.read(run.offsetBytes, data, socket.ended));
        parts.push(dataChunk(request, isLast, run), data);
      }
    }
    await settleAll(reads);
    await socket.send(...parts);
  } finally {
    for (const data of held) buffers.give(data);
  }
}

async function sendStatus(service: Service, request: ServerRequest): Promise<void> {
  const onlyOne = (request.flags & commandFlag.reqOne) !== 0;
  const runs = await statusRuns(service, request, onlyOne ? 1 : descriptorsSentMax);
  await service.socket.send(statusChunk(request, allocationContextId, runs));
}

/** The allocation from the request's start on, as far as `runsMax` descriptors reach. */
async function statusRuns(service: Service, request: ServerRequest, runsMax: number) {
  const { found } = service.session;
  assert(found.extents !== undefined);
  const runs: { lengthBytes: number; flags: number }[] = [];
  const endBytes = request.offsetBytes + request.lengthBytes;
  let stepBytes = extentStepMinBytes;
  for (let at = request.offsetBytes; at < endBytes; stepBytes *= 2) {
    const askedBytes = Math.min(stepBytes, extentStepMaxBytes, endBytes - at);
    const extents: readonly Extent[] = await found.extents(at, askedBytes, service.socket.ended);
    assert(extents.length > 0, "extents may stop short, but not at once");
    for (const extent of extents) {
      assert(extent.offsetBytes === at && extent.lengthBytes > 0, "extents have no gaps");
      assert(at + extent.lengthBytes <= endBytes, "extents stay inside of what was asked");
      const flags = extent.state === "zero" ? allocationFlag.hole | allocationFlag.zero : 0;
      const last = runs.at(-1);
      if (last?.flags === flags) last.lengthBytes += extent.lengthBytes;
      else if (runs.length === runsMax) return runs;
      else runs.push({ lengthBytes: extent.lengthBytes, flags });
      at += extent.lengthBytes;
    }
  }
  return runs;
}

import assert from "node:assert/strict";
import { Fault, type FaultDetails } from "../base/fault.ts";
import { readUint64, viewOf, writeUint64 } from "./bytes.ts";
import {
  chunkBodyLengthBytesMax,
  faultLengthBytesMax,
  frameHeaderLengthBytes,
  hashesBlocksMax,
  helloLengthBytesMax,
  jsonBodyLengthBytesMax,
  receivedRangesMax,
  requestsOutstandingMax,
  resumeChannelsMax,
} from "./wire-limits.ts";

/** Types of a frame as they stand on the wire. */
export const frameTypes = {
  hello: 1,
  welcome: 2,
  goodbye: 3,
  call: 4,
  chunk: 5,
  answer: 6,
  answerBytes: 7,
  fault: 8,
  ping: 9,
  pong: 10,
  resume: 11,
  standing: 12,
  received: 13,
  grant: 14,
} as const;

/** A frame's type by name. */
export type FrameType = keyof typeof frameTypes;

/** What every frame begins with. */
export interface FrameHeader {
  readonly type: FrameType;
  readonly bodyLengthBytes: number;
  /** A delta being written or a staged disk; 0 where none is meant. */
  readonly stream: number;
  /** The request that is made or answered; 0 where none is meant. */
  readonly request: number;
  /** From the replicator: the answers to all requests below it have arrived. From the vault: 0. */
  readonly watermark: number;
}

/** A frame of a newer version that may be passed over. */
export interface SkippedFrame {
  readonly type: null;
  readonly bodyLengthBytes: number;
}

/** Bit 0 of the flags: who does not know the type passes over the frame. */
const ignorableFlag = 1;

const bodyLengthsBytesMax: Readonly<Record<FrameType, number>> = {
  hello: helloLengthBytesMax,
  welcome: helloLengthBytesMax,
  goodbye: helloLengthBytesMax,
  call: jsonBodyLengthBytesMax,
  chunk: chunkBodyLengthBytesMax,
  answer: jsonBodyLengthBytesMax,
  answerBytes: hashesBlocksMax * 32,
  fault: faultLengthBytesMax,
  ping: 16,
  pong: 32,
  resume: 4 + resumeChannelsMax * 4 + requestsOutstandingMax * 8,
  standing: requestsOutstandingMax,
  received: receivedRangesMax * 16,
  grant: helloLengthBytesMax,
};

const typeNames: ReadonlyMap<number, FrameType> = new Map(
  Object.entries(frameTypes).map(([name, number]) => [number, name as FrameType]),
);

/** LINK_PROTOCOL: what the peer said is not in the protocol. */
export function wireFault(message: string, details: FaultDetails = {}): Fault {
  return new Fault("LINK_PROTOCOL", `link: ${message}`, details);
}

/** The 32 bytes that announce a body. Members not given are 0. */
export function encodeFrameHeader(
  header: Pick<FrameHeader, "type" | "bodyLengthBytes"> & Partial<FrameHeader>,
): Buffer {
  const { type, bodyLengthBytes, stream = 0, request = 0, watermark = 0 } = header;
  assert(bodyLengthBytes <= bodyLengthsBytesMax[type], `a ${type} of ${bodyLengthBytes} bytes`);
  const bytes = Buffer.alloc(frameHeaderLengthBytes);
  const view = viewOf(bytes);
  view.setUint32(0, bodyLengthBytes, true);
  view.setUint8(4, frameTypes[type]);
  view.setUint32(8, stream, true);
  writeUint64(view, 16, request);
  writeUint64(view, 24, watermark);
  return bytes;
}

/** Reads the first 32 bytes of a frame. LINK_PROTOCOL for a length above the type's limit, or a type that may not be skipped. */
export function decodeFrameHeader(bytes: Uint8Array): FrameHeader | SkippedFrame {
  const view = viewOf(bytes);
  const bodyLengthBytes = view.getUint32(0, true);
  const number = view.getUint8(4);
  const type = typeNames.get(number);
  if (type === undefined) {
    if (view.getUint8(5) % 2 !== ignorableFlag) throw wireFault("unknown frame type", { number });
    if (bodyLengthBytes > jsonBodyLengthBytesMax) throw tooLong(`type ${number}`, bodyLengthBytes);
    return { type: null, bodyLengthBytes };
  }
  if (bodyLengthBytes > bodyLengthsBytesMax[type]) throw tooLong(type, bodyLengthBytes);
  const request = readUint64(view, 16);
  const watermark = readUint64(view, 24);
  if (!Number.isSafeInteger(request) || !Number.isSafeInteger(watermark)) {
    throw wireFault("a request's number is out of range");
  }
  return { type, bodyLengthBytes, stream: view.getUint32(8, true), request, watermark };
}

function tooLong(what: string, bodyLengthBytes: number): Fault {
  return wireFault(`a ${what} frame is too long`, { bodyLengthBytes });
}

import { readUint64, viewOf, writeUint64 } from "./bytes.ts";
import { wireFault } from "./wire-frame.ts";
import { requestsOutstandingMax, resumeChannelsMax } from "./wire-limits.ts";

/** Asks for a sign of life and the time. */
export interface Ping {
  /** Counts a channel's pings. */
  readonly number: number;
  /** On the replicator's wall clock. */
  readonly sentAtMs: number;
}

/** Answers a ping. */
export interface Pong extends Ping {
  /** On the vault's wall clock, both. */
  readonly receivedAtMs: number;
  readonly answeredAtMs: number;
}

/** What the replicator asks when it has lost channels. */
export interface Resume {
  /** Channels that are over: the vault must read nothing more from them. */
  readonly channels: readonly number[];
  /** Requests whose answers have not arrived. */
  readonly requests: readonly number[];
}

/** A run of request numbers, half-open. */
export interface RequestRange {
  readonly from: number;
  readonly to: number;
}

/** A ping's 16 bytes. */
export function encodePing(ping: Ping): Buffer {
  return encodeNumbers([ping.number, ping.sentAtMs]);
}

/** Reads a ping; LINK_PROTOCOL when it is none. */
export function decodePing(body: Uint8Array): Ping {
  const [number, sentAtMs] = decodeNumbers(body, 2);
  return { number: number!, sentAtMs: sentAtMs! };
}

/** A pong's 32 bytes. */
export function encodePong(pong: Pong): Buffer {
  return encodeNumbers([pong.number, pong.sentAtMs, pong.receivedAtMs, pong.answeredAtMs]);
}

/** Reads a pong; LINK_PROTOCOL when it is none. */
export function decodePong(body: Uint8Array): Pong {
  const [number, sentAtMs, receivedAtMs, answeredAtMs] = decodeNumbers(body, 4);
  return {
    number: number!,
    sentAtMs: sentAtMs!,
    receivedAtMs: receivedAtMs!,
    answeredAtMs: answeredAtMs!,
  };
}

/** At most 64 channels and 8192 requests. */
export function encodeResume({ channels, requests }: Resume): Buffer {
  const head = Buffer.alloc(4 + channels.length * 4);
  head.writeUInt32LE(channels.length, 0);
  for (const [place, channel] of channels.entries()) head.writeUInt32LE(channel, 4 + place * 4);
  return Buffer.concat([head, encodeNumbers(requests)]);
}

/** Reads a resume; LINK_PROTOCOL when it is none. */
export function decodeResume(body: Uint8Array): Resume {
  if (body.length < 4) throw wireFault("a resume is too short");
  const view = viewOf(body);
  const channelCount = view.getUint32(0, true);
  const requestsAt = 4 + channelCount * 4;
  const requestCount = (body.length - requestsAt) / 8;
  const fits =
    channelCount <= resumeChannelsMax &&
    Number.isInteger(requestCount) &&
    requestCount >= 0 &&
    requestCount <= requestsOutstandingMax;
  if (!fits) throw wireFault("a resume has another length", { channelCount });
  const channels = Array.from({ length: channelCount }, (_, place) =>
    view.getUint32(4 + place * 4, true),
  );
  return { channels, requests: decodeNumbers(body.subarray(requestsAt), requestCount) };
}

/** Runs of confirmed requests, at most 1024. */
export function encodeReceived(ranges: readonly RequestRange[]): Buffer {
  return encodeNumbers(ranges.flatMap(({ from, to }) => [from, to]));
}

/** Reads runs of confirmed requests; LINK_PROTOCOL when one is empty. */
export function decodeReceived(body: Uint8Array): readonly RequestRange[] {
  if (body.length % 16 !== 0) throw wireFault("a received has another length");
  const numbers = decodeNumbers(body, body.length / 8);
  const ranges: RequestRange[] = [];
  for (let place = 0; place < numbers.length; place += 2) {
    const [from, to] = [numbers[place]!, numbers[place + 1]!];
    if (from >= to) throw wireFault("a received has an empty range");
    ranges.push({ from, to });
  }
  return ranges;
}

function encodeNumbers(numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 8);
  const view = viewOf(bytes);
  for (const [place, number] of numbers.entries()) writeUint64(view, place * 8, number);
  return bytes;
}

function decodeNumbers(body: Uint8Array, count: number): number[] {
  if (body.length !== count * 8) throw wireFault("a frame of numbers has another length");
  const view = viewOf(body);
  return Array.from({ length: count }, (_, place) => {
    const number = readUint64(view, place * 8);
    if (!Number.isSafeInteger(number)) throw wireFault("a number is out of range");
    return number;
  });
}

import fc from "fast-check";
import { expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import { goldenHeader } from "./golden-for-test.ts";
import {
  decodeFault,
  decodePoint,
  decodeStanding,
  encodeFault,
  encodePoint,
  encodeStanding,
} from "./wire-answers.ts";
import { decodeCall, encodeCall, type WireCall } from "./wire-calls.ts";
import { decodeChunk, encodeChunkHeader } from "./wire-chunk.ts";
import {
  decodePing,
  decodePong,
  decodeReceived,
  decodeResume,
  encodePing,
  encodePong,
  encodeReceived,
  encodeResume,
} from "./wire-control.ts";
import { decodeFrameHeader, encodeFrameHeader } from "./wire-frame.ts";
import {
  commonVersion,
  decodeGoodbye,
  decodeGrant,
  decodeHello,
  decodeWelcome,
  encodeHello,
  encodeWelcome,
} from "./wire-hello.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const session = "000102030405060708090a0b0c0d0e0f";
const protocol = expect.objectContaining({ code: "LINK_PROTOCOL" });

test("a frame's header is as the document shows it", () => {
  const header = encodeFrameHeader({
    type: "chunk",
    bodyLengthBytes: 1_048_600,
    stream: 3,
    request: 258,
    watermark: 200,
  });
  expect(hex(header)).toBe(
    "18001000" +
      "05" +
      "00" +
      "0000" +
      "03000000" +
      "00000000" +
      "0201000000000000" +
      "c800000000000000",
  );
  expect(decodeFrameHeader(header)).toEqual({
    type: "chunk",
    bodyLengthBytes: 1_048_600,
    stream: 3,
    request: 258,
    watermark: 200,
  });
});

test("a frame that says it is too long is refused before any byte of it is kept", () => {
  const header = encodeFrameHeader({ type: "ping", bodyLengthBytes: 16 });
  header.writeUInt32LE(17, 0);
  expect(() => decodeFrameHeader(header)).toThrow(protocol);
  header.writeUInt32LE(4_000_000_000, 0);
  expect(() => decodeFrameHeader(header)).toThrow(protocol);
});

test("an unknown frame is passed over when it may be, and ends the channel when not", () => {
  const header = encodeFrameHeader({ type: "ping", bodyLengthBytes: 5 });
  header[4] = 200;
  expect(() => decodeFrameHeader(header)).toThrow(protocol);
  header[5] = 1;
  expect(decodeFrameHeader(header)).toEqual({ type: null, bodyLengthBytes: 5 });
  header.writeUInt32LE(7 * MIB, 0);
  expect(() => decodeFrameHeader(header)).toThrow(protocol);
});

test("a chunk's header is as the document shows it", () => {
  const disk = "00000000000000d1";
  const chunk = { disk, offsetBytes: 65_024, lengthBytes: 1024, codec: "raw" } as const;
  const bytes = encodeChunkHeader(chunk);
  expect(hex(bytes)).toBe(
    "00000000000000d1" + "00fe000000000000" + "00040000" + "00" + "00" + "0200",
  );
  const list = Buffer.alloc(64, 7);
  const payload = Buffer.alloc(1024, 9);
  const decoded = decodeChunk(Buffer.concat([bytes, list, payload]));
  expect(decoded).toEqual({ ...chunk, list, payload });
});

test("a chunk that lies where none can, or has other lengths than it says, is corrupt", () => {
  const chunk = {
    disk: "00000000000000d1",
    offsetBytes: 0,
    lengthBytes: 1024,
    codec: "raw",
  } as const;
  const body = Buffer.concat([encodeChunkHeader(chunk), Buffer.alloc(32), Buffer.alloc(1024)]);
  decodeChunk(body);
  const damaged = (damage: (copy: Buffer) => unknown): Buffer => {
    const copy = Buffer.from(body);
    damage(copy);
    return copy;
  };
  const bad = [
    body.subarray(0, 23),
    body.subarray(0, -1),
    Buffer.concat([body, Buffer.alloc(1)]),
    damaged((copy) => copy.writeUInt32LE(1, 8)),
    damaged((copy) => copy.writeUInt32LE(0, 16)),
    damaged((copy) => copy.writeUInt8(2, 20)),
    damaged((copy) => copy.writeUInt16LE(2, 22)),
    damaged((copy) => copy.writeUInt32LE(MIB - 512, 8)),
    damaged((copy) => copy.writeUInt32LE(0xffffffff, 12)),
  ];
  for (const bytes of bad)
    expect(() => decodeChunk(bytes)).toThrow(expect.objectContaining({ code: "DELTA_CORRUPT" }));
});

test("hello and welcome are as the document shows them, and bear members of newer versions", () => {
  const hello = { versions: { min: 1, max: 2 }, session, life: null, channel: 4 };
  expect(encodeHello(hello).toString()).toBe(
    `{"channel":4,"life":null,"session":"${session}","versions":{"max":2,"min":1}}`,
  );
  const newer = Buffer.from(
    `{"channel":4,"colour":"red","life":null,"session":"${session}","versions":{"max":2,"min":1}}`,
  );
  expect(decodeHello(newer)).toEqual(hello);
  const grant = { sessionBytes: 100, streamBytes: 75 };
  const welcome = { version: 1, life: session, isNew: true, channelsMax: 16, grant };
  expect(decodeWelcome(encodeWelcome(welcome))).toEqual(welcome);
});

test("the newest common version is spoken, and none is a fault that a person must see", () => {
  expect(commonVersion({ min: 1, max: 1 }, { min: 1, max: 2 })).toBe(1);
  expect(commonVersion({ min: 1, max: 3 }, { min: 2, max: 2 })).toBe(2);
  expect(() => commonVersion({ min: 1, max: 1 }, { min: 2, max: 3 })).toThrow(
    expect.objectContaining({ code: "LINK_VERSION" }),
  );
});

test("numbers of the link's own frames are as the document shows them", () => {
  const ping = { number: 1, sentAtMs: 1_795_255_200_000 };
  expect(hex(encodePing(ping))).toBe("0100000000000000" + "00698cfda1010000");
  expect(decodePing(encodePing(ping))).toEqual(ping);
  const pong = { ...ping, receivedAtMs: 5, answeredAtMs: 6 };
  expect(decodePong(encodePong(pong))).toEqual(pong);
  const resume = { channels: [1, 7], requests: [9, 2 ** 40] };
  expect(hex(encodeResume(resume))).toBe(
    "02000000" + "01000000" + "07000000" + "0900000000000000" + "0000000000010000",
  );
  expect(decodeResume(encodeResume(resume))).toEqual(resume);
  const ranges = [{ from: 3, to: 9 }];
  expect(decodeReceived(encodeReceived(ranges))).toEqual(ranges);
});

test("calls and answers come back as they were", () => {
  const calls: readonly WireCall[] = [
    { call: "ask", group: "erp" },
    { call: "begin", header: goldenHeader },
    { call: "adopt", staged: 3 },
    { call: "close" },
    { call: "hashes", offsetBytes: 0, blocks: 2048 },
    {
      call: "seal",
      dirtyBytes: 1,
      readBytes: 2,
      contentRoot: null,
      clock: { offsetMs: -3, errorMs: 1 },
    },
  ];
  for (const call of calls) expect(decodeCall(encodeCall(call))).toEqual(call);
  const point = {
    ...goldenHeader,
    contentRoot: "c".repeat(64),
    sealedAtMs: 1,
    cost: { dirtyBytes: 1, readBytes: 2, dataBytes: 3, zeroBytes: 4, storedBytes: 5 },
    verifiedAtMs: null,
    drilledAtMs: 7,
    currentAtMs: null,
    clock: null,
  };
  expect(decodePoint(encodePoint(point))).toEqual(point);
  const standing = {
    head: point,
    staged: [],
    generation: { number: 2, holder: "00ff00ff00ff00ff" },
  };
  expect(decodeStanding(encodeStanding(standing))).toEqual(standing);
});

test("a fault crosses the wire by its code; one that this program lacks is the protocol's", () => {
  const fault = new Fault("GENERATION_STALE", "taken over", { holder: "aa", number: 2 });
  const told = decodeFault(encodeFault(fault));
  expect(told).toMatchObject({ code: fault.code, message: fault.message, details: fault.details });
  const odd = new Fault("ABORTED", `\ud800${"x".repeat(9000)}`, {
    share: 0.5,
    big: Number.NaN,
    text: "y".repeat(9000),
  });
  expect(decodeFault(encodeFault(odd)).details).toMatchObject({ big: null });
  const foreign = Buffer.from(`{"code":"NEWER_FAULT","details":{},"message":"m"}`);
  expect(decodeFault(foreign)).toEqual(protocol);
  const inherited = Buffer.from(`{"code":"toString","details":{},"message":"m"}`);
  expect(decodeFault(inherited)).toEqual(protocol);
});

test("no bytes make a decoder throw anything but a Fault", () => {
  const decoders = [
    decodeFrameHeaderOf32,
    decodeChunk,
    decodeHello,
    decodeWelcome,
    decodeGoodbye,
    decodeGrant,
    decodeCall,
    decodePoint,
    decodeStanding,
    decodeFault,
    decodePing,
    decodePong,
    decodeResume,
    decodeReceived,
  ];
  const json = fc.json().map((text) => Buffer.from(text));
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), json);
  fc.assert(
    fc.property(fc.constantFrom(...decoders), bytes, (decode, body) => {
      try {
        decode(body);
      } catch (error) {
        expect(error).toBeInstanceOf(Fault);
      }
    }),
    { numRuns: 3000, seed: 20_261_121 },
  );
});

function decodeFrameHeaderOf32(body: Uint8Array): void {
  const header = new Uint8Array(32);
  header.set(body.subarray(0, 32));
  decodeFrameHeader(header);
}

import { constants, crc32, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { KIB, MIB } from "../base/units.ts";
import { decodeCanonicalJson, encodeCanonicalJson } from "./canonical-json.ts";
import { decodeZstdPayload, encodeZstdPayload } from "./codec.ts";
import { type DeltaHeader, decodeHeader, encodeHeader } from "./delta-header.ts";
import { decodePrologue, encodePrologue } from "./delta-prologue.ts";
import { decodeTrailer, encodeTrailer } from "./delta-trailer.ts";

const headerHash = new Uint8Array(32).fill(1);
const prologue = { codec: "zstd", headerLengthBytes: 1000, headerHash } as const;
const trailer = {
  contentRoot: new Uint8Array(32).fill(2),
  headerHash,
  placementHash: new Uint8Array(32).fill(3),
  indexPositionBytes: 2 ** 40,
  fileSizeBytes: 2 ** 40 + 64 * 5 + 192,
  entryCount: 5,
  headerLengthBytes: 1000,
};

/** The bytes with some changed and the CRC-32 at `crcAt` made right again. */
function resealed(bytes: Buffer, crcAt: number, change: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  copy.writeUInt32LE(crc32(copy.subarray(0, crcAt)), crcAt);
  return copy;
}

describe("prologue", () => {
  const good = encodePrologue(prologue);

  test("reads back", () => {
    const decoded = decodePrologue(Buffer.concat([good, Buffer.alloc(100)]));
    expect(decoded).toEqual(prologue);
  });

  test.each([
    ["a future version", 8, 2, "DELTA_VERSION"],
    ["version 0", 8, 0, "DELTA_CORRUPT"],
    ["another length", 10, 65, "DELTA_CORRUPT"],
    ["a cipher", 12, 1, "DELTA_VERSION"],
    ["an unknown codec", 13, 2, "DELTA_VERSION"],
    ["a reserved byte", 14, 1, "DELTA_CORRUPT"],
    ["another reserved byte", 27, 1, "DELTA_CORRUPT"],
    ["a header longer than the limit", 19, 1, "DELTA_CORRUPT"],
  ])("refuses %s under a right checksum", (_, at, value, code) => {
    const bytes = resealed(good, 60, (copy) => copy.writeUInt8(value, at));
    expect(() => decodePrologue(bytes)).toThrowError(
      expect.objectContaining({ code, details: expect.objectContaining({ where: "prologue" }) }),
    );
  });
});

describe("trailer", () => {
  const good = encodeTrailer(trailer);
  const size = trailer.fileSizeBytes;

  test("reads back", () => {
    expect(decodeTrailer(good, size)).toEqual(trailer);
  });

  test.each([
    ["a future version", (copy: Buffer) => copy.writeUInt16LE(2, 176), "DELTA_VERSION"],
    ["another length", (copy: Buffer) => copy.writeUInt16LE(193, 178), "DELTA_CORRUPT"],
    ["a reserved byte", (copy: Buffer) => copy.writeUInt8(1, 130), "DELTA_CORRUPT"],
    ["an index of 2^32 entries", (copy: Buffer) => copy.fill(0xff, 112, 116), "DELTA_CORRUPT"],
    ["a header of 2^32 bytes", (copy: Buffer) => copy.fill(0xff, 116, 120), "DELTA_CORRUPT"],
    ["an index within the header", (copy: Buffer) => copy.fill(0, 96, 104), "DELTA_CORRUPT"],
    ["an index at 2^64", (copy: Buffer) => copy.fill(0xff, 96, 104), "DELTA_CORRUPT"],
    ["a size of 2^64", (copy: Buffer) => copy.fill(0xff, 104, 112), "DELTA_CORRUPT"],
  ])("refuses %s under a right checksum", (_, change, code) => {
    expect(() => decodeTrailer(resealed(good, 180, change), size)).toThrowError(
      expect.objectContaining({ code, details: expect.objectContaining({ where: "trailer" }) }),
    );
  });

  test("knows a longer trailer of a future version by its checksum", () => {
    const longer = Buffer.concat([Buffer.alloc(64, 5), good]);
    longer.writeUInt16LE(9, 64 + 176);
    longer.writeUInt16LE(256, 64 + 178);
    longer.writeUInt32LE(crc32(longer.subarray(0, 64 + 180)), 64 + 180);
    const tooNew = expect.objectContaining({ code: "DELTA_VERSION" });
    expect(() => decodeTrailer(longer, size)).toThrowError(tooNew);
    longer[0] = 6;
    expect(() => decodeTrailer(longer, size)).toThrow(/checksum/);
  });

  test("refuses the file of another size", () => {
    expect(() => decodeTrailer(good, size + 1)).toThrow(/size/);
  });
});

describe("canonical JSON", () => {
  test("sorts keys by code units and writes numbers, strings and null one way", () => {
    const value = {
      b: [1, -2, null, true],
      a: "é\u2028\n",
      "\u{1f600}": {},
      "\ufb33": 9007199254740991,
    };
    const text = '{"a":"é\u2028\\n","b":[1,-2,null,true],"\u{1f600}":{},"\ufb33":9007199254740991}';
    expect(encodeCanonicalJson(value).toString()).toBe(text);
    expect(decodeCanonicalJson(Buffer.from(text))).toEqual({ value });
  });

  test.each([
    ["a space", '{"a": 1}'],
    ["keys out of order", '{"b":1,"a":1}'],
    ["a key twice", '{"a":1,"a":1}'],
    ["a fraction", "1.5"],
    ["minus zero", "-0"],
    ["an exponent", "1e3"],
    ["a number beyond 2^53", "9007199254740993"],
    ["an escape that is not needed", '"\\u0061"'],
    ["the key __proto__", '{"__proto__":1}'],
    ["a byte order mark", "\ufeff1"],
    ["a lone surrogate", '"\\ud800"'],
    ["nothing", ""],
    ["nesting without end", "[".repeat(100_000)],
    ["nesting beyond the limit", `${"[".repeat(70)}${"]".repeat(70)}`],
  ])("refuses %s", (_, text) => {
    expect(decodeCanonicalJson(Buffer.from(text))).toBeNull();
  });

  test("refuses bytes that are no UTF-8", () => {
    expect(decodeCanonicalJson(Uint8Array.of(0x22, 0xff, 0x22))).toBeNull();
  });
});

describe("header", () => {
  const disk = {
    name: "erp/a",
    identity: "00000000000000d1",
    sizeBytes: 512,
    previousSizeBytes: null,
  };
  const header: DeltaHeader = {
    id: "0000000000000002",
    group: "erp",
    generation: { number: 1, holder: "00000000000000aa" },
    sequence: 2,
    fromSequence: 1,
    fromPoint: "0000000000000001",
    instant: { lowerMs: 1, upperMs: 2, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "Nothing more was asked.",
      isGroupConsistent: true,
      skewMs: null,
    },
    disks: [disk],
    machines: [{ name: "erp", platform: "qemu", definition: { cpus: [1, { "": null }] } }],
    notes: [],
  };

  test("reads back", () => {
    expect(decodeHeader(encodeHeader(header))).toEqual(header);
  });

  test.each<[string, Partial<Record<keyof DeltaHeader, unknown>>]>([
    ["an unknown key", { extra: 1 } as never],
    ["a missing part", { instant: undefined }],
    ["a group's name with a slash", { group: "../erp" }],
    ["a from-point that is not before the point", { fromSequence: 2 }],
    ["a from-point without a sequence", { fromSequence: 0 }],
    ["one identity twice", { disks: [disk, { ...disk, name: "erp/b" }] }],
    ["a size that is no whole sector", { disks: [{ ...disk, sizeBytes: 513 }] }],
    ["a disk without end", { disks: [{ ...disk, sizeBytes: 2 ** 53 - 512 }] }],
    ["disks without end", { disks: new Array(1025).fill(disk) }],
    ["a machine that is none", { machines: [{ name: "erp" }] }],
  ])("refuses %s, writing and reading", (_, change) => {
    const wrong = { ...header, ...change };
    expect(() => encodeHeader(wrong as DeltaHeader)).toThrowError(
      expect.objectContaining({ code: "CONFIG_INVALID" }),
    );
    const bytes = Buffer.from(JSON.stringify(sorted(wrong)));
    expect(() => decodeHeader(bytes)).toThrowError(
      expect.objectContaining({ code: "DELTA_CORRUPT" }),
    );
  });

  test("refuses a definition above its limit", () => {
    const definition = { text: "x".repeat(256 * KIB) };
    const machines = [{ name: "erp", platform: "qemu", definition }];
    expect(() => encodeHeader({ ...header, machines })).toThrow(/definition of erp/);
  });

  test("refuses what is no object", () => {
    for (const text of ["null", "1", "[]", "{}", ""]) {
      expect(() => decodeHeader(Buffer.from(text))).toThrow(/header/);
    }
  });
});

describe("zstd payload", () => {
  test("is kept only when it is smaller", async () => {
    const noise = crypto.getRandomValues(new Uint8Array(4096));
    for (const usesThreads of [true, false]) {
      expect(await encodeZstdPayload(new Uint8Array(512), { usesThreads })).not.toBeNull();
      expect(await encodeZstdPayload(noise, { usesThreads })).toBeNull();
    }
  });

  test.each([
    ["asks for a window beyond any chunk", wideFrame()],
    ["holds less than the extent", framed(zstdCompressSync(new Uint8Array(100)))],
    ["is no frame", framed(Buffer.alloc(40, 7))],
    ["is cut", framed(zstdCompressSync(Buffer.from("cut me short ".repeat(9))).subarray(0, -3))],
    ["is empty", framed(Buffer.alloc(0))],
    ["is shorter than its checksum", Buffer.alloc(3)],
    [
      "has another checksum",
      Buffer.concat([zstdCompressSync(new Uint8Array(512)), Buffer.alloc(4)]),
    ],
  ])("that %s is corrupt", async (_, payload) => {
    for (const usesThreads of [true, false]) {
      const decoding = decodeZstdPayload(payload, { lengthBytes: 512, usesThreads });
      await expect(decoding).rejects.toMatchObject({
        code: "DELTA_CORRUPT",
        details: { where: "chunk" },
      });
    }
  });

  test("that expands beyond the extent is given up at the extent's length", async () => {
    // Its window is small, so that only its length is wrong.
    const params = { [constants.ZSTD_c_windowLog]: 17 };
    const payload = framed(zstdCompressSync(new Uint8Array(64 * MIB), { params }));
    for (const usesThreads of [true, false]) {
      const decoding = decodeZstdPayload(payload, { lengthBytes: 512, usesThreads });
      const { message } = await decoding.then(
        () => ({ message: "" }),
        (error: Error) => error,
      );
      expect(message).toMatch(/does not decompress/);
    }
  });
});

/** 512 bytes in a frame without a content size whose window is 2 MiB (RFC 8878, 3.1.1.1). */
function wideFrame(): Buffer {
  const block = Buffer.concat([Buffer.from([512 * 8 + 1, (512 * 8) / 256, 0]), Buffer.alloc(512)]);
  return framed(Buffer.concat([Buffer.from("28b52ffd0058", "hex"), block]));
}

function framed(frame: Buffer): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32(frame));
  return Buffer.concat([frame, crc]);
}

/** Keys sorted at the top and below, as canonical JSON has them; what is undefined is left out. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(members.map(([key, inner]) => [key, sorted(inner)]));
}

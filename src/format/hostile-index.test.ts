import { describe, expect, test } from "vitest";
import { KIB, MIB, TIB } from "../base/units.ts";
import { viewOf, writeUint64 } from "./bytes.ts";
import { DeltaIndex, pieceStartOf } from "./delta-index.ts";
import { DeltaIndexBuilder } from "./delta-index-builder.ts";
import { checkIndex, type IndexBounds } from "./delta-index-check.ts";
import { chunkSpanBytes, diskSizeBytesMax, zeroSpanBytes } from "./delta-limits.ts";

const chunksStartBytes = 100;
const pieceListHash = new Uint8Array(32).fill(0xab);

/** Two chunks of 64 KiB and a run of zeroes on disk 0, one chunk on disk 1. */
function goodIndex(): { index: DeltaIndex; bounds: IndexBounds } {
  const builder = new DeltaIndexBuilder();
  let storedPositionBytes = chunksStartBytes;
  for (const [disk, offsetBytes] of [
    [1, 0],
    [0, 0],
    [0, 64 * KIB],
  ] as const) {
    const lengthBytes = 64 * KIB;
    const storedLengthBytes = 32 + lengthBytes;
    const stored = { storedPositionBytes, storedLengthBytes, codec: "raw" as const };
    builder.addChunk({ disk, offsetBytes, lengthBytes, pieceListHash, ...stored });
    storedPositionBytes += storedLengthBytes;
  }
  builder.addZero(0, MIB, MIB);
  const built = builder.finish();
  const index = new DeltaIndex(built.logicalTable.slice(), built.placementTable.slice());
  const diskReachBytes = [2 * MIB, MIB];
  return {
    index,
    bounds: {
      diskReachBytes,
      chunksStartBytes,
      chunksEndBytes: storedPositionBytes,
      codec: "zstd",
    },
  };
}

type Tamper = (logical: DataView, placement: DataView) => void;
const entryAt = (entry: number): number => entry * 48;
const placedAt = (entry: number): number => entry * 16;

const tampers: Record<string, { tamper: Tamper; problem: RegExp }> = {
  "entries out of order": {
    tamper: (logical) => {
      writeUint64(logical, entryAt(0) + 8, (64 * KIB) / 512);
      writeUint64(logical, entryAt(1) + 8, 0);
    },
    problem: /not in order/,
  },
  "disks out of order": {
    tamper: (logical) => logical.setUint16(entryAt(0), 1, true),
    problem: /not in order/,
  },
  "two entries for the same sector": {
    tamper: (logical) => writeUint64(logical, entryAt(1) + 8, (64 * KIB) / 512 - 1),
    problem: /overlaps/,
  },
  "a disk that the header lacks": {
    tamper: (logical) => logical.setUint16(entryAt(3), 2, true),
    problem: /header lacks/,
  },
  "an extent beyond its disk": {
    tamper: (logical) => writeUint64(logical, entryAt(3) + 8, (MIB - 512) / 512),
    problem: /beyond its disk/,
  },
  "an offset near 2^64": {
    tamper: (logical) => logical.setUint32(entryAt(3) + 12, 0xffffffff, true),
    problem: /beyond its disk/,
  },
  "an empty extent": {
    tamper: (logical) => logical.setUint32(entryAt(0) + 4, 0, true),
    problem: /empty/,
  },
  "a length near 2^32 sectors": {
    tamper: (logical) => logical.setUint32(entryAt(3) + 4, 0xffffffff, true),
    problem: /beyond its disk/,
  },
  "a chunk across a window": {
    tamper: (logical) => writeUint64(logical, entryAt(1) + 8, (MIB - 512) / 512),
    problem: /boundary/,
  },
  "an unknown kind": {
    tamper: (logical) => logical.setUint8(entryAt(0) + 2, 3),
    problem: /unknown kind/,
  },
  "a zero extent with a hash": {
    tamper: (logical) => logical.setUint8(entryAt(2) + 20, 1),
    problem: /yet stored/,
  },
  "a zero extent with a place": {
    tamper: (_, placement) => placement.setUint32(placedAt(2), 1, true),
    problem: /yet stored/,
  },
  "a reserved byte of the logical table": {
    tamper: (logical) => logical.setUint8(entryAt(1) + 3, 1),
    problem: /reserved/,
  },
  "a reserved byte of the placement table": {
    tamper: (_, placement) => placement.setUint8(placedAt(1) + 15, 1),
    problem: /reserved/,
  },
  "a raw chunk that is stored short": {
    tamper: (_, placement) => placement.setUint32(placedAt(0) + 8, 65_000, true),
    problem: /cannot be/,
  },
  "a compressed chunk that is longer than its data": {
    tamper: (_, placement) => {
      placement.setUint8(placedAt(0) + 12, 1);
      placement.setUint32(placedAt(0) + 8, 0xffffffff, true);
    },
    problem: /cannot be/,
  },
  "a compressed chunk without room for its piece list": {
    tamper: (_, placement) => {
      placement.setUint8(placedAt(0) + 12, 1);
      placement.setUint32(placedAt(0) + 8, 31, true);
    },
    problem: /cannot be/,
  },
  "an unknown codec": {
    tamper: (_, placement) => placement.setUint8(placedAt(0) + 12, 2),
    problem: /cannot be/,
  },
  "a chunk stored within the header": {
    tamper: (_, placement) => writeUint64(placement, placedAt(0), chunksStartBytes - 1),
    problem: /outside the chunks/,
  },
  "a chunk stored behind the index": {
    tamper: (_, placement) => placement.setUint32(placedAt(0) + 4, 0xffffffff, true),
    problem: /outside the chunks/,
  },
  "two chunks stored in one place": {
    tamper: (_, placement) => writeUint64(placement, placedAt(0), chunksStartBytes),
    problem: /gap or an overlap/,
  },
};

describe("a hostile index", () => {
  test("the good one, stored in another order than indexed, passes", () => {
    const { index, bounds } = goodIndex();
    checkIndex(index, bounds);
  });

  test.each(Object.keys(tampers))("%s", (name) => {
    const { index, bounds } = goodIndex();
    const { tamper, problem } = tampers[name]!;
    tamper(viewOf(index.logicalTable), viewOf(index.placementTable));
    expect(() => checkIndex(index, bounds)).toThrowError(
      expect.objectContaining({
        code: "DELTA_CORRUPT",
        details: expect.objectContaining({ where: "index" }),
        message: expect.stringMatching(problem),
      }),
    );
  });

  test("chunks that do not fill the space between header and index", () => {
    const { index, bounds } = goodIndex();
    const roomier = { ...bounds, chunksEndBytes: bounds.chunksEndBytes + 1 };
    expect(() => checkIndex(index, roomier)).toThrow(/do not fill/);
  });

  test("a compressed chunk in a delta that allows none", () => {
    const { index, bounds } = goodIndex();
    const placement = viewOf(index.placementTable);
    placement.setUint8(placedAt(0) + 12, 1);
    placement.setUint32(placedAt(0) + 8, 50_000, true);
    const shorter = { ...bounds, chunksEndBytes: bounds.chunksEndBytes - (65_568 - 50_000) };
    expect(() => checkIndex(index, { ...shorter, codec: "raw" })).toThrow(/cannot be/);
  });
});

describe("index", () => {
  test("a run of zeroes of any length is cut at 1 TiB and joined where runs touch", () => {
    const builder = new DeltaIndexBuilder();
    builder.addZero(0, 4096, diskSizeBytesMax / 1024);
    builder.addZero(1, 512, 512);
    builder.addZero(1, 2048, 512);
    builder.addZero(1, 1024, 512);
    builder.addZero(0, 0, 4096);
    const index = builder.finish();
    const bounds = { chunksStartBytes: 0, chunksEndBytes: 0, codec: "raw" as const };
    checkIndex(index, { ...bounds, diskReachBytes: [8 * TIB, MIB] });
    const extents = Array.from({ length: index.entryCount }, (_, entry) => index.describe(entry));
    expect(extents).toEqual([
      `disk 0, 0+${zeroSpanBytes}`,
      `disk 0, ${zeroSpanBytes}+${zeroSpanBytes}`,
      `disk 0, ${2 * zeroSpanBytes}+${zeroSpanBytes}`,
      `disk 0, ${3 * zeroSpanBytes}+${zeroSpanBytes}`,
      `disk 0, ${4 * zeroSpanBytes}+4096`,
      "disk 1, 512+1024",
      "disk 1, 2048+512",
    ]);
  });

  test("overlapping extents are our bug and never reach a file", () => {
    const builder = new DeltaIndexBuilder();
    builder.addZero(0, 0, 1024);
    builder.addZero(0, 512, 1024);
    expect(() => builder.finish()).toThrow(/overlap/);
  });

  test("seek finds the entry that covers or follows an offset", () => {
    const { index } = goodIndex();
    expect(index.seek(0, 0)).toBe(0);
    expect(index.seek(0, 64 * KIB - 1)).toBe(0);
    expect(index.seek(0, 64 * KIB)).toBe(1);
    expect(index.seek(0, 200 * KIB)).toBe(2);
    expect(index.seek(0, 2 * MIB)).toBe(3);
    expect(index.seek(1, 0)).toBe(3);
    expect(index.seek(1, MIB)).toBe(4);
  });

  test("pieces are cut at multiples of 64 KiB of the disk", () => {
    const offsetBytes = chunkSpanBytes + 64 * KIB - 512;
    const starts = [0, 1, 2, 3].map((piece) => pieceStartOf(offsetBytes, 66 * KIB, piece));
    expect(starts).toEqual([0, 512, 512 + 64 * KIB, 66 * KIB]);
  });
});

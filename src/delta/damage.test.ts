import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { Fault } from "../base/fault.ts";
import { isFault } from "../base/fault.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import type { HashHex } from "../core/ids.ts";
import { decodeTrailer } from "../format/delta-trailer.ts";
import { bytesOf, deltaForTest, putBytes } from "./files-for-test.ts";
import { diskForTest, headerForTest } from "./header-for-test.ts";
import { openDelta } from "./reader.ts";
import { verifyDelta } from "./verify.ts";

const { signal } = new AbortController();
const files = memoryFileSystem();
const header = headerForTest(3, [diskForTest(0, 4 * MIB), diskForTest(1, MIB)]);
const noise = new Uint8Array(1024);
seededPrng(11).fill(noise);
// Small enough to flip every byte of it; the second chunk has two pieces and compresses.
const text = Buffer.alloc(1024, "compressible ");
const content = [
  { disk: 0, offsetBytes: 512, data: noise, lengthBytes: 1024 },
  { disk: 0, offsetBytes: 64 * KIB - 512, data: text, lengthBytes: 1024 },
  { disk: 0, offsetBytes: MIB, data: null, lengthBytes: 2 * MIB },
  { disk: 1, offsetBytes: 0, data: noise.subarray(0, 512), lengthBytes: 512 },
];
const finished = await deltaForTest(files, "/good", { header, codec: "zstd", content });
const good = await bytesOf(files, "/good");

/** The first fault that opening and verifying these bytes meets, or null when there is none. */
async function damageIn(bytes: Uint8Array, contentRoot?: HashHex): Promise<Fault | null> {
  await putBytes(files, "/bad", bytes);
  try {
    const expected = contentRoot === undefined ? {} : { expected: { contentRoot } };
    await using reader = await openDelta({ files, path: "/bad", ...expected });
    return (await verifyDelta(reader, { signal })).faults[0] ?? null;
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
}

function partAt(position: number): string {
  const trailer = decodeTrailer(good, good.length);
  if (position < 64) return "prologue";
  if (position < 64 + trailer.headerLengthBytes) return "header";
  if (position < trailer.indexPositionBytes) return "chunk";
  return position < good.length - 192 ? "index" : "trailer";
}

describe("a damaged delta", () => {
  test("the undamaged one has none", async () => {
    expect(await damageIn(good, finished.contentRoot)).toBeNull();
  });

  test("one bit flipped at every byte is found, and in the part where it is", async () => {
    for (let at = 0; at < good.length; at += 1) {
      const bytes = Buffer.from(good);
      bytes[at] = bytes[at]! ^ (2 ** (at % 8));
      const fault = await damageIn(bytes);
      expect(fault?.code, `byte ${at}`).toBe("DELTA_CORRUPT");
      expect(fault?.details.path).toBe("/bad");
      expect(fault?.details.where, `byte ${at}: ${fault?.message}`).toBe(partAt(at));
    }
  });

  test("cut at every length it is found", async () => {
    for (let length = 0; length < good.length; length += 1) {
      const fault = await damageIn(good.subarray(0, length));
      expect(fault?.code, `length ${length}`).toBe("DELTA_CORRUPT");
    }
  });

  test("bytes added behind or between are found", async () => {
    const trailer = decodeTrailer(good, good.length);
    for (const at of [
      64,
      64 + trailer.headerLengthBytes,
      trailer.indexPositionBytes,
      good.length,
    ]) {
      const bytes = Buffer.concat([good.subarray(0, at), Buffer.alloc(64), good.subarray(at)]);
      expect((await damageIn(bytes))?.code, `at ${at}`).toBe("DELTA_CORRUPT");
    }
  });

  test("the end of a longer file with the same beginning is found", async () => {
    const more = [...content, { disk: 1, offsetBytes: 4096, data: null, lengthBytes: 512 }];
    await deltaForTest(files, "/other", { header, codec: "zstd", content: more });
    const other = await bytesOf(files, "/other");
    const spliced = Buffer.concat([good.subarray(0, good.length - 192), other.subarray(-192)]);
    expect((await damageIn(spliced))?.code).toBe("DELTA_CORRUPT");
    await files.remove("/other");
  });

  test("the header of another delta before the same chunks is found", async () => {
    const otherHeader = headerForTest(4, header.disks);
    await deltaForTest(files, "/other", { header: otherHeader, codec: "zstd", content });
    const other = await bytesOf(files, "/other");
    expect(other.length).toBe(good.length);
    const chunksAt = 64 + decodeTrailer(good, good.length).headerLengthBytes;
    const spliced = Buffer.concat([other.subarray(0, chunksAt), good.subarray(chunksAt)]);
    expect(await damageIn(spliced)).toMatchObject({
      code: "DELTA_CORRUPT",
      message: expect.stringMatching(/another header/),
    });
    await files.remove("/other");
  });

  test("swapped with another good delta is found when the content is known", async () => {
    const otherHeader = headerForTest(4, header.disks);
    await deltaForTest(files, "/other", { header: otherHeader, codec: "zstd", content });
    const other = await bytesOf(files, "/other");
    expect(await damageIn(other)).toBeNull();
    const fault = await damageIn(other, finished.contentRoot);
    expect(fault).toMatchObject({
      code: "DELTA_CORRUPT",
      details: { expectedRoot: finished.contentRoot },
    });
    await files.remove("/other");
  });

  test("a delta of a future version is told apart from a damaged one", async () => {
    const bytes = Buffer.from(good);
    const trailerAt = bytes.length - 192;
    bytes.writeUInt16LE(2, 8);
    expect(await damageIn(bytes)).toMatchObject({ code: "DELTA_CORRUPT" });
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    expect(await damageIn(bytes)).toMatchObject({
      code: "DELTA_VERSION",
      details: { where: "prologue", path: "/bad" },
    });
    const onlyTrailer = Buffer.from(good);
    onlyTrailer.writeUInt16LE(2, trailerAt + 176);
    onlyTrailer.writeUInt32LE(
      crc32(onlyTrailer.subarray(trailerAt, trailerAt + 180)),
      trailerAt + 180,
    );
    expect((await damageIn(onlyTrailer))?.details.where).toBe("trailer");
  });

  test("damage in two chunks is reported for both, with their places", async () => {
    const bytes = Buffer.from(good);
    const { indexPositionBytes, headerLengthBytes } = decodeTrailer(good, good.length);
    for (const at of [64 + headerLengthBytes + 40, indexPositionBytes - 1]) {
      bytes[at] = bytes[at]! ^ 1;
    }
    await putBytes(files, "/bad", bytes);
    await using reader = await openDelta({ files, path: "/bad" });
    const { faults, chunkCount } = await verifyDelta(reader, { signal });
    expect(chunkCount).toBe(3);
    expect(faults.map((fault) => fault.details)).toMatchObject([
      { where: "chunk", disk: 0, offsetBytes: 512, path: "/bad" },
      { where: "chunk", disk: 1, offsetBytes: 0, path: "/bad" },
    ]);
  });

  test("a chunk exchanged for another, whose pieces have their hashes, is found", async () => {
    const path = "/exchanged";
    const chunk = (value: number) => ({
      disk: 0,
      offsetBytes: 0,
      data: new Uint8Array(512).fill(value),
      lengthBytes: 512,
    });
    const parts: Buffer[] = [];
    for (const value of [1, 2]) {
      await files.remove(path);
      await deltaForTest(files, path, { header, codec: "raw", content: [chunk(value)] });
      parts.push(await bytesOf(files, path));
    }
    const { indexPositionBytes } = decodeTrailer(parts[0]!, parts[0]!.length);
    parts[1]!.copy(
      parts[0]!,
      indexPositionBytes - 544,
      indexPositionBytes - 544,
      indexPositionBytes,
    );
    await putBytes(files, path, parts[0]!);
    await using reader = await openDelta({ files, path });
    const exchanged = { code: "DELTA_CORRUPT", message: expect.stringMatching(/piece list/) };
    const into = new Uint8Array(512);
    await expect(reader.readChunk(0, into)).rejects.toMatchObject(exchanged);
    await expect(reader.readPieces(0, 0, 1, into)).rejects.toMatchObject(exchanged);
  });

  test("two chunks of one length exchanged in the index are found when it is opened", async () => {
    const twins = [1, 2].map((value) => ({
      disk: 0,
      offsetBytes: value * 4096,
      data: new Uint8Array(512).fill(value),
      lengthBytes: 512,
    }));
    await deltaForTest(files, "/twins", { header, codec: "raw", content: twins });
    const bytes = await bytesOf(files, "/twins");
    const placementAt = decodeTrailer(bytes, bytes.length).indexPositionBytes + 2 * 48;
    const row = Buffer.from(bytes.subarray(placementAt, placementAt + 16));
    bytes.copyWithin(placementAt, placementAt + 16, placementAt + 32);
    row.copy(bytes, placementAt + 16);
    expect((await damageIn(bytes))?.details.where).toBe("index");
  });

  test("a read of one damaged piece fails, its sound neighbour reads", async () => {
    const data = new Uint8Array(MIB);
    seededPrng(12).fill(data);
    const large = [{ disk: 0, offsetBytes: 0, data, lengthBytes: MIB }];
    await deltaForTest(files, "/large", { header, codec: "raw", content: large });
    const bytes = await bytesOf(files, "/large");
    const start = 64 + decodeTrailer(bytes, bytes.length).headerLengthBytes + 16 * 32;
    bytes[start + 100_000] = bytes[start + 100_000]! ^ 8;
    await putBytes(files, "/large", bytes);
    await using reader = await openDelta({ files, path: "/large" });
    const into = new Uint8Array(64 * KIB);
    await expect(reader.readPieces(0, 1, 1, into)).rejects.toMatchObject({
      code: "DELTA_CORRUPT",
      details: { where: "chunk", piece: 1, entry: 0, offsetBytes: 0 },
    });
    await reader.readPieces(0, 2, 1, into);
    expect(into).toEqual(data.subarray(128 * KIB, 192 * KIB));
  });
});

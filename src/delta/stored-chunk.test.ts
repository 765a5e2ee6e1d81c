import { describe, expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { KIB, MIB } from "../base/units.ts";
import type { StoredChunk } from "../core/journal.ts";
import { encodeZstdPayload } from "../format/codec.ts";
import { diskForTest, headerForTest } from "./header-for-test.ts";
import { pieceHasher } from "./piece-hasher.ts";
import { openDelta } from "./reader.ts";
import { type CodecChoice, createDelta } from "./writer.ts";

const { signal } = new AbortController();
const header = headerForTest(1, [diskForTest(0, 8 * MIB), diskForTest(1, 8 * MIB)]);
const text = Buffer.alloc(512 * KIB + 512, "what a guest writes ");

async function chunkOf(data: Buffer, codec: "raw" | "zstd", offsetBytes = 0): Promise<StoredChunk> {
  const list = await pieceHasher({ usesThreads: false }).list(offsetBytes, data);
  const compressed = await encodeZstdPayload(data, { usesThreads: false });
  const payload = codec === "raw" ? data : compressed!;
  return { offsetBytes, lengthBytes: data.length, codec, list, payload };
}

/** Codecs of the delta's chunks, by disk and offset, and its root. */
async function written(codec: CodecChoice, chunks: readonly (readonly [number, StoredChunk])[]) {
  const files = memoryFileSystem();
  await using writer = await createDelta({ files, path: "/a", header, codec, signal });
  for (const [disk, chunk] of chunks) await writer.writeStored(disk, chunk);
  const { contentRoot } = await writer.finish();
  await using reader = await openDelta({ files, path: "/a", expected: { contentRoot } });
  const codecs: (string | null)[] = [];
  for (let entry = 0; entry < reader.index.entryCount; entry += 1) {
    codecs.push(reader.index.codec(entry));
    const data = Buffer.alloc(reader.index.lengthBytes(entry));
    await reader.readChunk(entry, data);
    expect(data.equals(text.subarray(0, data.length))).toBe(true);
  }
  return { codecs, contentRoot };
}

describe("a chunk that comes compressed", () => {
  test("stays so where the delta may hold compressed chunks, and has the same root where not", async () => {
    const chunks = [
      [0, await chunkOf(text, "zstd")],
      [1, await chunkOf(text, "raw", MIB)],
    ] as const;
    const kept = await written(() => "raw", chunks);
    const expanded = await written("raw", chunks);
    expect(kept.codecs).toEqual(["zstd", "raw"]);
    expect(expanded.codecs).toEqual(["raw", "raw"]);
    expect(kept.contentRoot).toBe(expanded.contentRoot);
  });
  test("leaves a writer that refused it as it was", async () => {
    const files = memoryFileSystem();
    const good = await chunkOf(text, "raw");
    const bad = { ...good, payload: Buffer.from(text).fill(1, 70 * KIB, 70 * KIB + 1) };
    await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
    const [first, second] = await Promise.allSettled([
      writer.writeStored(0, bad),
      writer.writeStored(1, good),
    ]);
    expect(first).toMatchObject({
      reason: { code: "DELTA_CORRUPT", details: { where: "chunk", piece: 1 } },
    });
    expect(second).toMatchObject({ status: "fulfilled" });
    expect((await writer.finish()).dataBytes).toBe(text.length);
  });
});

test("how a disk's chunks are stored may change while a delta is being written", async () => {
  const files = memoryFileSystem();
  let compressed = 1;
  const codec: CodecChoice = (disk) => (disk === compressed ? "zstd" : "raw");
  await using writer = await createDelta({ files, path: "/a", header, codec, signal });
  await writer.write(0, 0, text);
  await writer.write(1, 0, text);
  compressed = 0;
  await writer.write(0, MIB, text);
  await writer.write(1, MIB, text);
  await writer.finish();
  await using reader = await openDelta({ files, path: "/a" });
  const codecs = [0, 1, 2, 3].map((entry) => reader.index.codec(entry));
  expect(codecs).toEqual(["raw", "zstd", "zstd", "raw"]);
});

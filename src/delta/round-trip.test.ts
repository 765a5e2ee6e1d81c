import { expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import { diskForTest, headerForTest } from "./header-for-test.ts";
import { openDelta } from "./reader.ts";
import { createDelta } from "./writer.ts";

const signal = new AbortController().signal;

test.each(["raw", "zstd"] as const)("what is written with %s reads back", async (codec) => {
  const files = memoryFileSystem();
  const header = headerForTest(1, [diskForTest(0, 8 * MIB), diskForTest(1, 4 * MIB)]);
  const data = new Uint8Array(MIB);
  seededPrng(1).fill(data.subarray(0, MIB / 2));
  await using writer = await createDelta({ files, path: "/a", header, codec, signal });
  await Promise.all([
    writer.write(1, MIB, data),
    writer.write(0, 64 * KIB - 512, data.subarray(0, 64 * KIB)),
    writer.zero(0, 2 * MIB, 3 * MIB),
  ]);
  const finished = await writer.finish();
  expect(finished).toMatchObject({ dataBytes: MIB + 64 * KIB, zeroBytes: 3 * MIB });

  const expected = { contentRoot: finished.contentRoot };
  await using reader = await openDelta({ files, path: "/a", expected });
  expect(reader.header).toEqual(header);
  expect(reader.sizeBytes).toBe(finished.sizeBytes);
  expect(reader.index.entryCount).toBe(3);
  const small = new Uint8Array(64 * KIB);
  await reader.readChunk(0, small);
  expect(small).toEqual(data.subarray(0, 64 * KIB));
  const large = new Uint8Array(MIB);
  await reader.readChunk(2, large);
  expect(large).toEqual(data);
  const pieces = new Uint8Array(128 * KIB);
  await reader.readPieces(2, 3, 2, pieces);
  expect(pieces).toEqual(data.subarray(192 * KIB, 320 * KIB));
});

test("the same content has the same root, whatever the codec and the order of the calls", async () => {
  const files = memoryFileSystem();
  const header = headerForTest(1, [diskForTest(0, 8 * MIB)]);
  const roots: string[] = [];
  for (const codec of ["raw", "zstd"] as const) {
    await using writer = await createDelta({ files, path: `/${codec}`, header, codec, signal });
    const offsets = codec === "raw" ? [0, MIB, 2 * MIB] : [2 * MIB, MIB, 0];
    for (const offset of offsets) await writer.write(0, offset, new Uint8Array(4096).fill(7));
    for (const offset of offsets) await writer.zero(0, 4 * MIB + offset, MIB);
    roots.push((await writer.finish()).contentRoot);
  }
  expect(roots[0]).toBe(roots[1]);
});

test("a writer that is disposed before it finished leaves no file", async () => {
  const files = memoryFileSystem();
  const header = headerForTest(1, [diskForTest(0, MIB)]);
  {
    await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
    await writer.write(0, 0, new Uint8Array(512));
  }
  expect(await files.list("/")).toEqual([]);
});

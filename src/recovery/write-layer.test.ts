import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { NbdExport } from "../nbd/export.ts";
import { memoryExport } from "../nbd/memory-export.ts";
import { writeLayer } from "./write-layer.ts";

const signal = new AbortController().signal;
const sizeBytes = 4 * blockSizeBytes + 512;

const original = Uint8Array.from({ length: sizeBytes }, (_, index) => (index % 251) + 1);
const pattern = () => original.slice();

async function layerOver(bytes: Uint8Array, capBytes = 16 * blockSizeBytes) {
  const all = memoryExport(bytes);
  const beneath: NbdExport = {
    sizeBytes: bytes.length,
    isReadOnly: true,
    read: (offsetBytes, into) => all.read(offsetBytes, into, signal),
    extents: (offsetBytes, lengthBytes) => all.extents!(offsetBytes, lengthBytes, signal),
  };
  const files = memoryFileSystem();
  await files.makeDirectory("/scratch");
  return { files, layer: await writeLayer({ beneath, files, path: "/scratch/layer", capBytes }) };
}

async function readAll(exported: NbdExport): Promise<Uint8Array> {
  const into = new Uint8Array(sizeBytes);
  await exported.read(0, into, signal);
  return into;
}

const range = fc
  .tuple(fc.nat(sizeBytes - 1), fc.integer({ min: 1, max: 2 * blockSizeBytes }))
  .map(([offset, length]) => ({ offset, length: Math.min(length, sizeBytes - offset) }));
const operation = fc.record({
  kind: fc.constantFrom("write", "zero", "trim"),
  range,
  fill: fc.integer({ min: 1, max: 255 }),
});

test("reads back what was written over what is beneath, which never changes", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 12 }), async (operations) => {
      const bytes = pattern();
      const expected = pattern();
      const { layer } = await layerOver(bytes);
      await using _layer = layer;
      for (const { kind, range, fill } of operations) {
        const { offset, length } = range;
        expected.fill(kind === "write" ? fill : 0, offset, offset + length);
        const data = new Uint8Array(length).fill(fill);
        if (kind === "write") await layer.export.write!(offset, data, signal);
        else if (kind === "zero") {
          await layer.export.zero!(offset, length, { mayPunch: true, signal });
        } else await layer.export.trim!(offset, length, signal);
      }
      expect(Buffer.compare(await readAll(layer.export), expected)).toBe(0);
      expect(Buffer.compare(bytes, pattern())).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test("writes to different parts of one block at the same time all stay", async () => {
  const { layer } = await layerOver(pattern());
  await using _layer = layer;
  const parts = Array.from({ length: 64 }, (_, index) => index);
  await Promise.all(
    parts.map((part) =>
      layer.export.write!(part * 512, new Uint8Array(512).fill(part + 1), signal),
    ),
  );
  const found = await readAll(layer.export);
  expect(parts.map((part) => found[part * 512 + 100])).toEqual(parts.map((part) => part + 1));
});

describe("a layer", () => {
  test("that is full refuses new blocks, still takes written ones, and takes new ones after a trim", async () => {
    const { layer } = await layerOver(pattern(), 2 * blockSizeBytes);
    await using _layer = layer;
    const write = (block: number) =>
      layer.export.write!(block * blockSizeBytes, new Uint8Array(blockSizeBytes), signal);
    await write(0);
    await write(1);
    await expect(write(2)).rejects.toMatchObject({ code: "SCRATCH_FULL" });
    await write(1);
    await layer.export.trim!(0, blockSizeBytes, signal);
    await write(2);
  });
  test("tells what is zero", async () => {
    const { layer } = await layerOver(pattern());
    await using _layer = layer;
    await layer.export.zero!(blockSizeBytes, 2 * blockSizeBytes, { mayPunch: true, signal });
    expect(await layer.export.extents!(blockSizeBytes, sizeBytes - blockSizeBytes, signal)).toEqual(
      [{ offsetBytes: blockSizeBytes, lengthBytes: 2 * blockSizeBytes, state: "zero" }],
    );
    const [first] = await layer.export.extents!(0, sizeBytes, signal);
    expect(first).toMatchObject({ offsetBytes: 0, state: "data" });
  });
  test("is gone when it is closed", async () => {
    const { files, layer } = await layerOver(pattern());
    expect(await files.list("/scratch")).toEqual(["layer"]);
    await layer[Symbol.asyncDispose]();
    expect(await files.list("/scratch")).toEqual([]);
  });
});

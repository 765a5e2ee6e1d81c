import fc from "fast-check";
import { expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import type { PointDisk } from "../core/point.ts";
import type { Codec } from "../format/codec.ts";
import { decodeTrailer } from "../format/delta-trailer.ts";
import { bytesOf, type ContentForTest, deltaForTest } from "./files-for-test.ts";
import { diskForTest, headerForTest } from "./header-for-test.ts";
import { mergeDeltas } from "./merge.ts";
import { mergeHeaders } from "./merge-headers.ts";
import { type DeltaReader, openDelta } from "./reader.ts";
import { verifyDelta } from "./verify.ts";

const { signal } = new AbortController();
const sector = 512;
/** Beyond every size in these tests. */
const reachBytes = 3 * MIB;

interface Step {
  readonly codec: Codec;
  /** Per disk, in sectors; null: the disk is not there at this point. */
  readonly sizes: readonly (number | null)[];
  readonly writes: readonly { disk: number; at: number; sectors: number; isZero: boolean }[];
}

const sizeArbitrary = fc.integer({ min: 1, max: reachBytes / sector });
const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  codec: fc.constantFrom<Codec>("raw", "zstd"),
  sizes: fc.tuple(sizeArbitrary, fc.option(sizeArbitrary, { nil: null })),
  writes: fc.array(
    fc.record({
      disk: fc.integer({ min: 0, max: 1 }),
      at: fc.integer({ min: 0, max: reachBytes / sector - 1 }),
      sectors: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 4000 })),
      isZero: fc.boolean(),
    }),
    { maxLength: 8 },
  ),
});

/** The content of a delta over a disk of `disk.previousSizeBytes`, as a source makes it: grown and cut tails are in it. */
function contentOf(step: Step, disks: readonly PointDisk[], seed: number): ContentForTest[] {
  const content: ContentForTest[] = [];
  for (const [place, disk] of disks.entries()) {
    const state = new Map<number, "zero" | "data">();
    const before = disk.previousSizeBytes ?? 0;
    for (let at = Math.min(before, disk.sizeBytes); at < Math.max(before, disk.sizeBytes); ) {
      state.set(at, "zero");
      at += sector;
    }
    for (const write of step.writes) {
      if (diskForTest(write.disk, sector).identity !== disk.identity) continue;
      for (let count = 0; count < write.sectors; count += 1) {
        const at = (write.at + count) * sector;
        if (at < disk.sizeBytes) state.set(at, write.isZero ? "zero" : "data");
      }
    }
    const prng = seededPrng(seed + place);
    const starts = [...state.keys()].sort((left, right) => left - right);
    for (let first = 0; first < starts.length; ) {
      const start = starts[first]!;
      const kind = state.get(start)!;
      let next = first + 1;
      while (
        next < starts.length &&
        starts[next] === start + (next - first) * sector &&
        state.get(starts[next]!) === kind &&
        (kind === "zero" || starts[next]! % MIB !== 0)
      ) {
        next += 1;
      }
      const lengthBytes = (next - first) * sector;
      // Few distinct values, so that zstd keeps its result; seeded, so that every delta differs.
      const data = kind === "zero" ? null : new Uint8Array(lengthBytes).fill(1 + prng.below(250));
      content.push({ disk: place, offsetBytes: start, data, lengthBytes });
      first = next;
    }
  }
  return content;
}

/** Writes what a delta holds over arrays of bytes, one per disk number. */
async function apply(reader: DeltaReader, disks: Map<string, Uint8Array>): Promise<void> {
  const { index, header } = reader;
  for (let entry = 0; entry < index.entryCount; entry += 1) {
    const { identity } = header.disks[index.disk(entry)]!;
    const bytes = disks.get(identity)!;
    await reader.readChunk(entry, bytes.subarray(index.offsetBytes(entry), index.endBytes(entry)));
  }
}

function basesFor(): Map<string, Uint8Array> {
  return new Map(
    [0, 1].map((place) => [
      diskForTest(place, sector).identity,
      new Uint8Array(reachBytes).fill(0xee),
    ]),
  );
}

test("a merged delta does what its parts do one after the other", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(stepArbitrary, { minLength: 1, maxLength: 5 }),
      fc.constantFrom<Codec>("raw", "zstd"),
      async (steps, codec) => {
        const files = memoryFileSystem();
        await using readers = new AsyncDisposableStack();
        const opened: DeltaReader[] = [];
        const sizesBefore: (number | null)[] = [null, null];
        const oneByOne = basesFor();
        for (const [place, step] of steps.entries()) {
          const disks = step.sizes.flatMap((size, disk) => {
            const before = sizesBefore[disk] ?? null;
            sizesBefore[disk] = size === null ? before : size * sector;
            return size === null ? [] : [diskForTest(disk, size * sector, before)];
          });
          const path = `/${place}`;
          const content = contentOf(step, disks, 100 * place);
          const header = headerForTest(place + 1, disks);
          await deltaForTest(files, path, { header, codec: step.codec, content });
          const reader = readers.use(await openDelta({ files, path }));
          opened.push(reader);
          await apply(reader, oneByOne);
        }
        const header = mergeHeaders(opened.map((reader) => reader.header));
        const merging = { files, path: "/merged", header, codec, readers: opened, signal };
        const { contentRoot } = await mergeDeltas(merging);
        await using merged = await openDelta({
          files,
          path: "/merged",
          expected: { contentRoot },
        });
        expect((await verifyDelta(merged, { signal })).faults).toEqual([]);
        const atOnce = basesFor();
        await apply(merged, atOnce);
        for (const { identity, sizeBytes, previousSizeBytes } of header.disks) {
          const bytes = atOnce.get(identity)!;
          const expected = oneByOne.get(identity)!.subarray(0, sizeBytes);
          expect(Buffer.compare(bytes.subarray(0, sizeBytes), expected)).toBe(0);
          const tail = bytes.subarray(sizeBytes, Math.max(sizeBytes, previousSizeBytes ?? 0));
          expect(tail.every((byte) => byte === 0)).toBe(true);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("merging keeps whole chunks as they are stored and cuts what a newer one covers", async () => {
  const files = memoryFileSystem();
  const disks = [diskForTest(0, 4 * MIB)];
  const old = new Uint8Array(MIB).fill(1);
  const fresh = new Uint8Array(64 * KIB).fill(2);
  const olds = [0, MIB].map((offsetBytes) => ({
    disk: 0,
    offsetBytes,
    data: old,
    lengthBytes: MIB,
  }));
  const news = [{ disk: 0, offsetBytes: 128 * KIB, data: fresh, lengthBytes: 64 * KIB }];
  const header = headerForTest(1, disks);
  await deltaForTest(files, "/1", { header, codec: "raw", content: olds });
  const next = headerForTest(2, disks);
  await deltaForTest(files, "/2", { header: next, codec: "raw", content: news });
  await using first = await openDelta({ files, path: "/1" });
  await using second = await openDelta({ files, path: "/2" });
  const readers = [first, second];
  const mergedHeader = mergeHeaders([first.header, second.header]);
  expect(mergedHeader).toMatchObject({ id: next.id, fromPoint: null, fromSequence: 0 });
  const merging = { files, path: "/m", header: mergedHeader, codec: "raw" as const, readers };
  await mergeDeltas({ ...merging, signal });
  await using merged = await openDelta({ files, path: "/m" });
  const { index } = merged;
  const extents = Array.from({ length: index.entryCount }, (_, entry) => index.describe(entry));
  expect(extents).toEqual([
    "disk 0, 0+131072",
    "disk 0, 131072+65536",
    "disk 0, 196608+851968",
    "disk 0, 1048576+1048576",
  ]);
  expect(index.pieceListHashHex(3)).toBe(first.index.pieceListHashHex(1));
});

test("a disk that grew and shrank on the way is merged from its first size to its last", async () => {
  const files = memoryFileSystem();
  const write = (offsetBytes: number) => {
    return { disk: 0, offsetBytes, data: new Uint8Array(sector).fill(7), lengthBytes: sector };
  };
  const steps = [
    { disk: diskForTest(0, 4 * MIB, 2 * MIB), content: [write(0), write(MIB), write(3 * MIB)] },
    // A source would have sealed zeroes from 1 MiB on; the merge does not rely on it.
    { disk: diskForTest(0, MIB, 4 * MIB), content: [] },
  ];
  await using opened = new AsyncDisposableStack();
  const readers: DeltaReader[] = [];
  for (const [place, { disk, content }] of steps.entries()) {
    const path = `/${place}`;
    const header = headerForTest(place + 1, [disk]);
    await deltaForTest(files, path, { header, codec: "raw", content });
    readers.push(opened.use(await openDelta({ files, path })));
  }
  const header = mergeHeaders(readers.map((reader) => reader.header));
  expect(header.disks).toEqual([diskForTest(0, MIB, 2 * MIB)]);
  await mergeDeltas({ files, path: "/m", header, codec: "raw", readers, signal });
  await using merged = await openDelta({ files, path: "/m" });
  const { index } = merged;
  const extents = Array.from({ length: index.entryCount }, (_, entry) => {
    return `${index.isZero(entry) ? "zero" : "data"}: ${index.describe(entry)}`;
  });
  expect(extents).toEqual(["data: disk 0, 0+512", "zero: disk 0, 1048576+512"]);
});

test("a merge that fails leaves no file", async () => {
  const files = memoryFileSystem();
  const disks = [diskForTest(0, MIB)];
  const content = [{ disk: 0, offsetBytes: 0, data: new Uint8Array(sector), lengthBytes: sector }];
  await deltaForTest(files, "/1", { header: headerForTest(1, disks), codec: "raw", content });
  {
    const bytes = await bytesOf(files, "/1");
    await using file = await files.open("/1", "write");
    // The last byte of the only chunk.
    await file.write(Uint8Array.of(1), decodeTrailer(bytes, bytes.length).indexPositionBytes - 1);
  }
  await using reader = await openDelta({ files, path: "/1" });
  const readers = [reader];
  const { header } = reader;
  const merging = { files, path: "/m", header, codec: "raw" as const, readers, signal };
  await expect(mergeDeltas(merging)).rejects.toMatchObject({ code: "DELTA_CORRUPT" });
  expect(await files.list("/")).toEqual(["1"]);
});

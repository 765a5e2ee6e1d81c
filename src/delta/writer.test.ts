import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import { bytesOf } from "./files-for-test.ts";
import { diskForTest, headerForTest } from "./header-for-test.ts";
import { openDelta } from "./reader.ts";
import { verifyDelta } from "./verify.ts";
import { createDelta } from "./writer.ts";

const { signal } = new AbortController();
const header = headerForTest(1, [diskForTest(0, 64 * MIB)]);

/** The same files with something done before each write, sync and close. */
function hooked(
  inner: FileSystem,
  hook: (call: "write" | "sync" | "close") => Promise<void> | void,
): FileSystem {
  const wrap = (file: StoredFile): StoredFile => ({
    ...file,
    write: async (from, positionBytes) => {
      await hook("write");
      await file.write(from, positionBytes);
    },
    sync: async () => {
      await hook("sync");
      await file.sync();
    },
    [Symbol.asyncDispose]: async () => {
      await hook("close");
      await file[Symbol.asyncDispose]();
    },
  });
  return { ...inner, open: async (path, mode) => wrap(await inner.open(path, mode)) };
}

test("extents written in any order, many at once, read back as an array of bytes does", async () => {
  const extents = fc.uniqueArray(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 40 });
  const property = fc.asyncProperty(
    extents,
    fc.constantFrom("raw" as const, "zstd" as const),
    fc.integer({ min: 1, max: 16 }),
    async (blocks, codec, lanes) => {
      const files = memoryFileSystem();
      const oracle = new Uint8Array(16 * MIB);
      const prng = seededPrng(blocks.length);
      {
        await using writer = await createDelta({ files, path: "/a", header, codec, signal });
        const left = [...blocks];
        const lane = async (): Promise<void> => {
          const buffer = new Uint8Array(64 * KIB);
          for (let block = left.pop(); block !== undefined; block = left.pop()) {
            const offsetBytes = block * 64 * KIB;
            if (block % 5 === 0) {
              await writer.zero(0, offsetBytes, 64 * KIB);
              continue;
            }
            prng.fill(buffer.subarray(0, 100));
            oracle.set(buffer, offsetBytes);
            await writer.write(0, offsetBytes, buffer);
            buffer.fill(0xff); // Free again, so this must not show.
            buffer.fill(0);
          }
        };
        await Promise.all(Array.from({ length: lanes }, lane));
        const zeroBlocks = blocks.filter((block) => block % 5 === 0).length;
        expect(await writer.finish()).toMatchObject({
          dataBytes: (blocks.length - zeroBlocks) * 64 * KIB,
          zeroBytes: zeroBlocks * 64 * KIB,
        });
      }
      await using reader = await openDelta({ files, path: "/a" });
      const { index } = reader;
      const seen = new Uint8Array(16 * MIB);
      for (let entry = 0; entry < index.entryCount; entry += 1) {
        await reader.readChunk(
          entry,
          seen.subarray(index.offsetBytes(entry), index.endBytes(entry)),
        );
      }
      expect(Buffer.compare(seen, oracle)).toBe(0);
    },
  );
  await fc.assert(property, { numRuns: 30 });
});

test("the host's threads and this one write the same file, and compress to the same root", async () => {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-delta-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
  const data = new Uint8Array(MIB);
  seededPrng(5).fill(data.subarray(0, MIB / 2));
  const rooms = [
    { files: memoryFileSystem(), path: "/" },
    { files: nodeFileSystem(), path: directory },
  ];
  const roots = new Set<string>();
  const raw: Buffer[] = [];
  for (const { files, path } of rooms) {
    for (const codec of ["raw", "zstd"] as const) {
      const file = join(path, codec);
      await using writer = await createDelta({ files, path: file, header, codec, signal });
      await Promise.all(
        [9, 3, 6, 1].map((window) => writer.write(0, window * MIB, data.subarray(window * 512))),
      );
      roots.add((await writer.finish()).contentRoot);
      if (codec === "raw") raw.push(await bytesOf(files, file));
    }
  }
  expect(roots.size).toBe(1);
  expect(raw[0]!.equals(raw[1]!)).toBe(true);
});

test("an empty delta is a delta", async () => {
  const files = memoryFileSystem();
  await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
  const { contentRoot } = await writer.finish();
  await using reader = await openDelta({ files, path: "/a", expected: { contentRoot } });
  expect(reader.index.entryCount).toBe(0);
  expect((await verifyDelta(reader, { signal })).faults).toEqual([]);
});

test("nothing is synced before all is written, and finish waits for the sync", async () => {
  const calls: string[] = [];
  const inner = memoryFileSystem();
  const files = hooked(inner, (call) => void calls.push(call));
  await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
  for (let window = 0; window < 8; window += 1) {
    await writer.write(0, window * MIB, new Uint8Array(MIB));
  }
  await writer.finish();
  expect(calls.filter((call) => call === "sync")).toEqual(["sync"]);
  expect(calls.slice(-2)).toEqual(["sync", "close"]);
});

test("a vault that runs full fails every call, and disposing leaves nothing", async () => {
  const files = memoryFileSystem({ capacityBytes: 6 * MIB });
  {
    await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
    const full = { code: "STORAGE_FULL", details: { path: "/a" } };
    const writing = async (): Promise<void> => {
      for (let window = 0; window < 32; window += 1) {
        await writer.write(0, window * MIB, new Uint8Array(MIB));
      }
    };
    await expect(writing()).rejects.toMatchObject(full);
    await expect(writer.zero(0, 40 * MIB, 512)).rejects.toMatchObject(full);
    await expect(writer.finish()).rejects.toMatchObject(full);
  }
  expect(await files.list("/")).toEqual([]);
});

test("a vault that runs full at the seal fails it, and disposing leaves nothing", async () => {
  const inner = memoryFileSystem();
  let isFull = false;
  const files = hooked(inner, (call) => {
    if (isFull && call === "write") throw new Error("no room");
  });
  {
    await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
    await writer.write(0, 0, new Uint8Array(512));
    isFull = true;
    await expect(writer.finish()).rejects.toThrow("no room");
  }
  expect(await inner.list("/")).toEqual([]);
});

test("a sync that fails is not a seal", async () => {
  const inner = memoryFileSystem();
  const files = hooked(inner, (call) => {
    if (call === "sync") throw new Error("device gone");
  });
  {
    await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
    await expect(writer.finish()).rejects.toThrow("device gone");
  }
  expect(await inner.list("/")).toEqual([]);
});

test("an aborted signal ends the writing with its reason", async () => {
  const files = memoryFileSystem();
  const stop = new AbortController();
  {
    const creating = { files, path: "/a", header, codec: "raw" as const, signal: stop.signal };
    await using writer = await createDelta(creating);
    await writer.write(0, 0, new Uint8Array(512));
    stop.abort(new Error("enough"));
    await expect(writer.write(0, MIB, new Uint8Array(512))).rejects.toThrow("enough");
    await expect(writer.finish()).rejects.toThrow("enough");
    await expect(createDelta({ ...creating, path: "/b" })).rejects.toThrow("enough");
  }
  expect(await files.list("/")).toEqual([]);
});

test("disposing in the middle of slow writes waits for them and leaves nothing", async () => {
  const inner = memoryFileSystem();
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const calls: string[] = [];
  const files = hooked(inner, async (call) => {
    started.resolve();
    if (call === "write") await gate.promise;
    calls.push(call);
  });
  const writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
  const writing = Promise.allSettled(
    [0, MIB].map((at) => writer.write(0, at, new Uint8Array(MIB))),
  );
  await started.promise;
  const disposed = writer[Symbol.asyncDispose]();
  await setImmediate(); // Whatever need not wait for the writes has happened by now.
  gate.resolve();
  await disposed;
  await writing;
  // The first chunk's list and payload; the second was given up before its turn.
  expect(calls).toEqual(["write", "write", "close"]);
  expect(await inner.list("/")).toEqual([]);
});

test("disposing waits for what it reads from, though a later call has failed already", async () => {
  const inner = memoryFileSystem();
  {
    await using writer = await createDelta({
      files: inner,
      path: "/1",
      header,
      codec: "raw",
      signal,
    });
    await writer.write(0, 0, new Uint8Array(512));
    await writer.finish();
  }
  const gate = Promise.withResolvers<void>();
  let isReading = true;
  const slow: FileSystem = {
    ...inner,
    open: async (path, mode) => {
      const file = await inner.open(path, mode);
      let reads = 0;
      const read: StoredFile["read"] = async (into, positionBytes) => {
        reads += 1;
        if (reads > 3) await gate.promise; // The first three open the delta.
        return file.read(into, positionBytes);
      };
      return { ...file, read };
    },
  };
  await using reader = await openDelta({ files: slow, path: "/1" });
  const stop = new AbortController();
  const creating = { files: inner, path: "/2", header, codec: "raw" as const };
  const writer = await createDelta({ ...creating, signal: stop.signal });
  const copying = writer.copyChunk(reader, 0, 0).catch(() => {
    isReading = false;
  });
  stop.abort(new Error("enough"));
  const zeroing = expect(writer.zero(0, MIB, 512)).rejects.toThrow("enough");
  const disposed = writer[Symbol.asyncDispose]().then(() => expect(isReading).toBe(false));
  gate.resolve();
  await Promise.all([disposed, zeroing, copying]);
});

test("an existing file is never overwritten", async () => {
  const files = memoryFileSystem();
  await using writer = await createDelta({ files, path: "/a", header, codec: "raw", signal });
  await writer.finish();
  const again = createDelta({ files, path: "/a", header, codec: "raw", signal });
  await expect(again).rejects.toMatchObject({ details: { reason: "exists" } });
  await using reader = await openDelta({ files, path: "/a" });
  expect(reader.header.sequence).toBe(1);
});

import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readSmallFile, writeFileAtomically } from "./atomic-file.ts";
import { nodeFileSystem } from "./node-file-system.ts";
import { MIB } from "./units.ts";

const files = nodeFileSystem();
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-files-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it("reads back what was written, and says how much there was at the end of the file", async () => {
  await using file = await files.open(join(directory, "a"), "create");
  await file.write(new Uint8Array([1, 2, 3]), 5);
  const into = new Uint8Array(10);
  expect(await file.read(into, 4)).toBe(4);
  expect([...into.subarray(0, 4)]).toEqual([0, 1, 2, 3]);
  expect(await file.sizeBytes()).toBe(8);
});

it("names path and reason when a file is missing or there already", async () => {
  const path = join(directory, "b");
  await expect(files.open(path, "read")).rejects.toMatchObject({
    code: "STORAGE_MISSING",
    details: { path },
  });
  await (await files.open(path, "create"))[Symbol.asyncDispose]();
  await expect(files.open(path, "create")).rejects.toMatchObject({
    code: "STORAGE_FAILED",
    details: { path, reason: "exists" },
  });
});

it("punches a hole that reads as zeroes and gives its room back", async () => {
  const path = join(directory, "c");
  await using file = await files.open(path, "create");
  await file.write(new Uint8Array(4 * MIB).fill(7), 0);
  await file.sync();
  const before = await files.stat(path);
  await file.punch(MIB, 2 * MIB);
  const into = new Uint8Array(4 * MIB);
  await file.read(into, 0);
  expect(into.subarray(0, MIB).every((byte) => byte === 7)).toBe(true);
  expect(into.subarray(MIB, 3 * MIB).every((byte) => byte === 0)).toBe(true);
  expect(into.subarray(3 * MIB).every((byte) => byte === 7)).toBe(true);
  const after = await files.stat(path);
  expect(after!.sizeBytes).toBe(4 * MIB);
  expect(after!.allocatedBytes).toBeLessThan(before!.allocatedBytes);
});

it("lists a directory sorted, and one that is not there as empty", async () => {
  for (const name of ["b", "a"]) {
    await (await files.open(join(directory, name), "create"))[Symbol.asyncDispose]();
  }
  expect(await files.list(directory)).toEqual(["a", "b"]);
  expect(await files.list(join(directory, "nowhere"))).toEqual([]);
  expect(await files.stat(join(directory, "nowhere"))).toBeNull();
  await files.remove(join(directory, "nowhere"));
});

it("replaces a file whole, also when an earlier attempt left its part behind", async () => {
  const path = join(directory, "state");
  await (await files.open(`${path}.part`, "create"))[Symbol.asyncDispose]();
  await writeFileAtomically(files, path, new Uint8Array([1]));
  await writeFileAtomically(files, path, new Uint8Array([2, 3]));
  expect(await readSmallFile(files, path, 10)).toEqual(new Uint8Array([2, 3]));
  expect(await readSmallFile(files, `${path}.part`, 10)).toBeNull();
  await expect(readSmallFile(files, path, 1)).rejects.toThrow(RangeError);
});

it("makes private directories that nobody else may enter, and leaves those that are there", async () => {
  const path = join(directory, "vault");
  await files.makeDirectory(path, { isPrivate: true });
  expect((await stat(path)).mode % 0o1000).toBe(0o700);
  const open = join(directory, "open");
  await files.makeDirectory(open);
  const before = (await stat(open)).mode;
  await files.makeDirectory(open, { isPrivate: true });
  expect((await stat(open)).mode).toBe(before);
});

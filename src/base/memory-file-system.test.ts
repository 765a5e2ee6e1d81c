import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { FileSystem } from "./file-system.ts";
import { memoryFileSystem } from "./memory-file-system.ts";
import { nodeFileSystem } from "./node-file-system.ts";
import { TIB } from "./units.ts";

interface Room extends AsyncDisposable {
  readonly files: FileSystem;
  readonly directory: string;
}

async function memoryRoom(): Promise<Room> {
  const files = memoryFileSystem();
  await files.makeDirectory("/room");
  return { files, directory: "/room", [Symbol.asyncDispose]: async () => {} };
}

async function hostRoom(): Promise<Room> {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-files-"));
  return {
    files: nodeFileSystem(),
    directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

describe.each([
  ["memory", memoryRoom],
  ["host", hostRoom],
])("file system of the %s", (_name, openRoom) => {
  test("what was written reads back, holes read as zeroes, the end is short", async () => {
    await using room = await openRoom();
    await using file = await room.files.open(join(room.directory, "a"), "create");
    await file.write(Uint8Array.of(1, 2, 3), 70_000);
    expect(await file.sizeBytes()).toBe(70_003);
    const into = new Uint8Array(6).fill(9);
    expect(await file.read(into, 69_998)).toBe(5);
    expect([...into]).toEqual([0, 0, 1, 2, 3, 9]);
    expect(await file.read(into, 80_000)).toBe(0);
  });

  test("create refuses what exists, read and write refuse what does not", async () => {
    await using room = await openRoom();
    const path = join(room.directory, "a");
    const missing = { code: "STORAGE_MISSING" };
    await expect(room.files.open(path, "read")).rejects.toMatchObject(missing);
    await expect(room.files.open(path, "write")).rejects.toMatchObject(missing);
    await expect(room.files.open(join(path, "b"), "create")).rejects.toMatchObject(missing);
    await using _file = await room.files.open(path, "create");
    await expect(room.files.open(path, "create")).rejects.toMatchObject({
      code: "STORAGE_FAILED",
      details: { reason: "exists" },
    });
  });

  test("rename replaces, remove forgives, an open handle outlives its name", async () => {
    await using room = await openRoom();
    const [from, to] = [join(room.directory, "from"), join(room.directory, "to")];
    await using old = await room.files.open(to, "create");
    await old.write(Uint8Array.of(7), 0);
    {
      await using fresh = await room.files.open(from, "create");
      await fresh.write(Uint8Array.of(8, 8), 0);
    }
    await room.files.rename(from, to);
    await room.files.syncDirectory(room.directory);
    expect(await room.files.list(room.directory)).toEqual(["to"]);
    expect(await room.files.stat(to)).toMatchObject({ kind: "file", sizeBytes: 2 });
    const into = new Uint8Array(1);
    await old.read(into, 0);
    expect(into[0]).toBe(7);
    await room.files.remove(to);
    await room.files.remove(to);
    expect(await room.files.stat(to)).toBeNull();
    await expect(room.files.rename(from, to)).rejects.toMatchObject({ code: "STORAGE_MISSING" });
  });

  test("truncate and punch leave zeroes; a huge sparse file takes no room", async () => {
    await using room = await openRoom();
    const path = join(room.directory, "a");
    await using file = await room.files.open(path, "create");
    await file.write(new Uint8Array(200_000).fill(5), 0);
    await file.truncate(100);
    await file.truncate(TIB);
    await file.punch(10, 20);
    const into = new Uint8Array(200);
    await file.read(into, 0);
    const expected = new Uint8Array(200).fill(5, 0, 100).fill(0, 10, 30);
    expect(into).toEqual(expected);
    const status = await room.files.stat(path);
    expect(status?.sizeBytes).toBe(TIB);
    expect(status?.allocatedBytes).toBeLessThan(1_000_000);
  });

  test("directories nest, list sorted and go with all that is in them", async () => {
    await using room = await openRoom();
    const inner = join(room.directory, "x", "y");
    expect(await room.files.list(inner)).toEqual([]);
    await room.files.makeDirectory(inner);
    await room.files.makeDirectory(inner);
    for (const name of ["b", "a"]) {
      await using _file = await room.files.open(join(inner, name), "create");
    }
    expect(await room.files.list(inner)).toEqual(["a", "b"]);
    expect(await room.files.stat(inner)).toMatchObject({ kind: "directory" });
    await room.files.removeDirectory(join(room.directory, "x"));
    expect(await room.files.list(room.directory)).toEqual([]);
    expect(await room.files.freeBytes(room.directory)).toBeGreaterThan(0);
  });
});

test("a memory file system of limited capacity runs full", async () => {
  const files = memoryFileSystem({ capacityBytes: 200_000 });
  await using file = await files.open("/a", "create");
  await file.write(new Uint8Array(65_536), 0);
  await expect(file.write(new Uint8Array(150_000), 65_536)).rejects.toMatchObject({
    code: "STORAGE_FULL",
  });
  expect(await files.freeBytes("/")).toBeLessThan(200_000);
});

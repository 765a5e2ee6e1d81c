import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { MemoryLockTable } from "./memory-locks.ts";
import { sqliteLocks } from "./sqlite-locks.ts";

const directory = await mkdtemp(join(tmpdir(), "afterimage-locks-"));
afterAll(() => rm(directory, { recursive: true, force: true }));

const memory = memoryFileSystem();
await memory.makeDirectory("/locks");
const table = new MemoryLockTable(memory);
const kinds = [
  { name: "sqlite", files: nodeFileSystem(), root: directory, locks: sqliteLocks },
  { name: "memory", files: memory, root: "/locks", locks: () => table.process().locks },
];

describe.each(kinds)("locks ($name)", ({ files, root, locks }) => {
  async function lockFile(name: string): Promise<string> {
    const path = join(root, name);
    await using _made = await files.open(path, "create");
    return path;
  }

  test("a lock has one holder until it is released", async () => {
    const path = await lockFile("one");
    const [ours, theirs] = [locks(), locks()];
    const held = await ours.take(path);
    expect(held).not.toBeNull();
    expect(await theirs.take(path)).toBeNull();
    expect(await ours.take(path)).toBeNull();
    await held?.[Symbol.asyncDispose]();
    await using after = await theirs.take(path);
    expect(after).not.toBeNull();
  });

  test("different files are different locks", async () => {
    await using first = await locks().take(await lockFile("first"));
    await using second = await locks().take(await lockFile("second"));
    expect([first, second]).not.toContain(null);
  });

  test("a lock whose file is gone is missing and is not made", async () => {
    const path = join(root, "never-made");
    await expect(locks().take(path)).rejects.toMatchObject({ code: "STORAGE_MISSING" });
    expect(await files.stat(path)).toBeNull();
  });
});

test("a killed process of the memory table holds nothing", async () => {
  await using _file = await memory.open("/locks/killed", "create");
  const owner = table.process();
  await owner.locks.take("/locks/killed");
  owner.kill();
  expect(await table.process().locks.take("/locks/killed")).not.toBeNull();
});

test("a path with characters that mean something in a URL locks that very file", async () => {
  const path = join(directory, "a b#?%.lock");
  await writeFile(path, "");
  await using held = await sqliteLocks().take(path);
  expect(held).not.toBeNull();
  expect(await sqliteLocks().take(path)).toBeNull();
});

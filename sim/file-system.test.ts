import { beforeEach, describe, expect, test } from "vitest";
import { writeFileAtomically } from "../src/base/atomic-file.ts";
import type { FileSystem } from "../src/base/file-system.ts";
import { seededPrng } from "../src/base/prng.ts";
import { sectorSizeBytes } from "../src/core/limits.ts";
import { virtualClock } from "./clock.ts";
import { simFileSystem } from "./file-system.ts";
import { Medium } from "./medium.ts";

const nothingSurvives = { survivalRate: 0, tearRate: 0 };
const anythingSurvives = { survivalRate: 0.5, tearRate: 0.5 };
const text = (content: string) => new TextEncoder().encode(content);

let medium: Medium;
let files: FileSystem;
beforeEach(async () => {
  medium = new Medium();
  files = simFileSystem({ medium, clock: virtualClock() });
  await files.makeDirectory("/vault/in");
  await files.makeDirectory("/vault/out");
  await files.syncDirectory("/");
  await files.syncDirectory("/vault");
});

async function create(path: string, content: Uint8Array): Promise<void> {
  await using file = await files.open(path, "create");
  await file.write(content, 0);
}

async function sync(path: string): Promise<void> {
  await using file = await files.open(path, "write");
  await file.sync();
}

async function contentOf(path: string): Promise<string | null> {
  if ((await files.stat(path)) === null) return null;
  await using file = await files.open(path, "read");
  const content = new Uint8Array(await file.sizeBytes());
  await file.read(content, 0);
  return new TextDecoder().decode(content);
}

describe("after a crash", () => {
  test("a file whose name was not synced is gone, though its data was", async () => {
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe(null);
  });

  test("a file whose data was not synced is empty, though its name was", async () => {
    await create("/vault/in/a", text("abc"));
    await files.syncDirectory("/vault/in");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe("");
  });

  test("what was synced, data and name, is there", async () => {
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    await files.syncDirectory("/vault/in");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe("abc");
  });

  test("a rename between directories is durable with both ends when the target's was synced", async () => {
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    await files.rename("/vault/in/a", "/vault/out/b");
    await files.syncDirectory("/vault/out");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/out/b")).toBe("abc");
    expect(await files.list("/vault/in")).toEqual([]);
  });

  test("a rename is whole or not, never both names and never none", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 100; seed += 1) {
      medium = new Medium();
      files = simFileSystem({ medium, clock: virtualClock() });
      await files.makeDirectory("/in");
      await files.makeDirectory("/out");
      await files.syncDirectory("/");
      await create("/in/a", text("new"));
      await sync("/in/a");
      await create("/out/b", text("old"));
      await sync("/out/b");
      await files.syncDirectory("/in");
      await files.syncDirectory("/out");
      await files.rename("/in/a", "/out/b");
      medium.crash(seededPrng(seed), anythingSurvives);
      seen.add(`${await contentOf("/in/a")} ${await contentOf("/out/b")}`);
    }
    expect([...seen].sort()).toEqual(["new old", "null new"]);
  });

  test("an atomically replaced file is the old one or the new one", async () => {
    for (let seed = 0; seed < 100; seed += 1) {
      await writeFileAtomically(files, "/vault/name", text("old"));
      const replacing = writeFileAtomically(files, "/vault/name", text("fresh"));
      if (seed % 2 === 0) await replacing;
      medium.crash(seededPrng(seed), anythingSurvives);
      const content = await contentOf("/vault/name");
      expect(seed % 2 === 0 ? ["fresh"] : ["old", "fresh"]).toContain(content);
      await replacing.catch(() => {});
    }
  });

  test("unsynced writes survive in any part and are torn at sectors, synced ones beneath shine through", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 300; seed += 1) {
      const path = `/vault/in/${seed}`;
      await create(path, new Uint8Array(2 * sectorSizeBytes).fill(65));
      await sync(path);
      await files.syncDirectory("/vault/in");
      {
        await using file = await files.open(path, "write");
        await file.write(new Uint8Array(2 * sectorSizeBytes).fill(66), 0);
        await file.write(text("C"), 0);
      }
      medium.crash(seededPrng(seed), anythingSurvives);
      const content = (await contentOf(path))!;
      seen.add(`${content[0]}${content[1]}${content[sectorSizeBytes]}`);
    }
    expect([...seen].sort()).toEqual(["AAA", "AAB", "BBA", "BBB", "CAA", "CAB", "CBA", "CBB"]);
  });

  test("a removal that was not synced may come undone", async () => {
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    await files.syncDirectory("/vault/in");
    await files.remove("/vault/in/a");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe("abc");
  });
});

describe("misfortune", () => {
  test("a full medium takes part of a write and says so", async () => {
    let room = true;
    files = simFileSystem({
      medium,
      clock: virtualClock(),
      strike: (at) => (at === "write" && !room ? "full" : "none"),
    });
    await using file = await files.open("/vault/in/a", "create");
    room = false;
    await expect(file.write(text("abcd"), 0)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    expect(await file.sizeBytes()).toBe(2);
  });

  test("a rename that is not answered was done all the same", async () => {
    await create("/vault/in/a", text("abc"));
    files = simFileSystem({ medium, clock: virtualClock(), strike: () => "unanswered" });
    const renaming = files.rename("/vault/in/a", "/vault/out/a");
    await expect(renaming).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    files = simFileSystem({ medium, clock: virtualClock() });
    expect(await contentOf("/vault/out/a")).toBe("abc");
  });

  test("a lying sync loses what it said was durable", async () => {
    files = simFileSystem({
      medium,
      clock: virtualClock(),
      strike: (at) => (at === "sync" ? "lost" : "none"),
    });
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    await files.syncDirectory("/vault/in");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe("");
  });

  test("after a failed sync a later one that succeeds does not bring the data back", async () => {
    let failures = 1;
    const prng = seededPrng(3);
    files = simFileSystem({
      medium,
      clock: virtualClock(),
      strike: (at) => (at === "sync" && failures-- > 0 ? "failed" : "none"),
      failSync: (content) => content.failSync(prng),
    });
    const lost = new Set<string>();
    for (let round = 0; round < 20; round += 1) {
      failures = 1;
      const path = `/vault/in/${round}`;
      await create(path, text("abc"));
      await files.syncDirectory("/vault/in");
      await expect(sync(path)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await sync(path);
      expect(await contentOf(path)).toBe("abc");
      medium.crash(seededPrng(round), nothingSurvives);
      lost.add(String(await contentOf(path)));
    }
    expect([...lost].sort()).toEqual(["", "abc"]);
  });

  test("rot changes one bit of a synced file, also after a restart", async () => {
    await create("/vault/in/a", text("abc"));
    await sync("/vault/in/a");
    await files.syncDirectory("/vault/in");
    expect(medium.rot(seededPrng(1), () => true)).toMatchObject({ path: "/vault/in/a" });
    const rotten = await contentOf("/vault/in/a");
    expect(rotten).not.toBe("abc");
    medium.crash(seededPrng(1), nothingSurvives);
    expect(await contentOf("/vault/in/a")).toBe(rotten);
  });
});

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { seededPrng } from "../src/base/prng.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { cyclePhases, syncPhases } from "../src/engine/phase.ts";
import { moveBasePhases } from "../src/journal/move-base.ts";
import { thinPhases } from "../src/journal/thin.ts";
import { sourcePhases } from "../src/source/qemu/phase.ts";
import { type Guest, type TestHost, testHost } from "../src/source/qemu/test-guest.ts";
import {
  changeHistory,
  hashesAt,
  type KillOrder,
  killDisks,
  killGroup,
  killJournal,
  replicate,
} from "./support/kill-world.ts";

const harness = fileURLToPath(new URL("kill-harness.ts", import.meta.url));
const seed = 20_261_121;

let host: TestHost;
let guest: Guest;
let prng = seededPrng(seed);
/** What the disks held when the points were cut, by sequence; the guest is quiet then. */
let oracle: Map<number, ReadonlyMap<string, string>>;

beforeEach(async () => {
  prng = seededPrng(seed);
  oracle = new Map();
  host = await testHost();
  await host.createImages("db", killDisks);
  guest = await host.start("db", killDisks);
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

/** A few writes and a trim on each disk. */
async function guestActs(): Promise<void> {
  for (const { name, sizeBytes } of killDisks) {
    const disk = guest.disk(name);
    const blocks = Math.floor(sizeBytes / blockSizeBytes);
    for (let round = 0; round < 3; round += 1) {
      const bytes = new Uint8Array(blockSizeBytes);
      prng.fill(bytes);
      await disk.write(prng.below(blocks) * blockSizeBytes, bytes);
    }
    await disk.trim(prng.below(blocks) * blockSizeBytes, blockSizeBytes);
    await disk.write(sizeBytes - 512, new Uint8Array(512).fill(1 + prng.below(255)));
  }
}

async function disksNow(): Promise<ReadonlyMap<string, string>> {
  const hashes = new Map<string, string>();
  for (const { name, sizeBytes } of killDisks) {
    const bytes = Buffer.alloc(sizeBytes);
    await guest.disk(name).read(0, bytes);
    hashes.set(`db/${name}`, createHash("sha256").update(bytes).digest("hex"));
  }
  return hashes;
}

/** Cuts a point in this process; returns what the point says happened on the way. */
async function cut(): Promise<readonly string[]> {
  const now = await disksNow();
  const { report } = await replicate(host.directory);
  oracle.set(report.point.sequence, now);
  return report.point.notes;
}

/** Runs a child that is killed at the phase; true when it came so far. */
async function runKilled(order: Omit<KillOrder, "directory">): Promise<boolean> {
  const argument = JSON.stringify({ ...order, directory: host.directory });
  const child = spawn(process.execPath, [harness, argument], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code, signal] = await once(child, "exit");
  if (signal !== "SIGKILL") expect(code).toBe(0);
  return signal === "SIGKILL";
}

async function wrongPoints(): Promise<readonly string[]> {
  await using opened = await killJournal(host.directory);
  const wrong: string[] = [];
  for (const { sequence } of opened.journal.points()) {
    const held = await hashesAt(opened.journal, sequence);
    for (const [name, hash] of oracle.get(sequence) ?? []) {
      if (held.get(name as never) !== hash) wrong.push(`#${sequence} ${name}`);
    }
    if (!oracle.has(sequence)) wrong.push(`#${sequence} is unknown`);
  }
  return wrong;
}

/** Besides the head's bitmap nothing of ours is left on the source. */
async function leftovers(): Promise<readonly string[]> {
  await using opened = await killJournal(host.directory);
  const head = opened.journal.head()!;
  const wanted = `afterimage:${killGroup}:${head.id}`;
  const left = (await guest.nodeNames()).filter((name) => name.startsWith("afterimage-"));
  for (const { name } of killDisks) {
    for (const bitmap of await guest.bitmaps(name)) {
      if (!bitmap.startsWith(wanted)) left.push(bitmap);
    }
  }
  return left;
}

describe("a change is not lost when we are killed", () => {
  // "armed" and "still" are steps of the barrier over several machines; source/qemu tests them.
  const ofOneMachine = sourcePhases.filter((phase) => phase !== "armed" && phase !== "still");
  for (const phase of [...cyclePhases, ...ofOneMachine.map((phase) => `source ${phase}`)]) {
    test(`at ${phase} of a cycle`, async () => {
      await guestActs();
      await cut();
      await guestActs();
      const between = await disksNow();
      const wasKilled = await runKilled({ act: "cycle", phase, nth: 1 });
      expect(wasKilled).toBe(true);
      // The point that was under way may have been sealed: then it is what the disks held.
      oracle.set(2, between);
      await guestActs();
      expect(await cut()).toEqual([]);
      expect(await wrongPoints()).toEqual([]);
      expect(await leftovers()).toEqual([]);
    });
  }

  for (const phase of syncPhases) {
    test(`at ${phase} of an initial sync`, async () => {
      await guestActs();
      expect(await runKilled({ act: "cycle", phase, nth: 2 })).toBe(true);
      await guestActs();
      await cut();
      await guestActs();
      expect(await cut()).toEqual([]);
      expect(await wrongPoints()).toEqual([]);
      expect(await leftovers()).toEqual([]);
    });
  }
});

describe("no point is lost when we are killed while history is put together", () => {
  const acts = [
    ...thinPhases.map((phase) => ({ act: "thin", phase }) as const),
    ...moveBasePhases.map((phase) => ({ act: "move-base", phase }) as const),
  ];
  for (const { act, phase } of acts) {
    test(`at ${phase} of ${act}`, async () => {
      for (let round = 0; round < 4; round += 1) {
        await guestActs();
        await cut();
      }
      expect(await runKilled({ act, phase, nth: 1 })).toBe(true);
      expect(await wrongPoints()).toEqual([]);
      await guestActs();
      expect(await cut()).toEqual([]);
      await changeHistory(host.directory, act);
      expect(await wrongPoints()).toEqual([]);
      await guestActs();
      expect(await cut()).toEqual([]);
      expect(await wrongPoints()).toEqual([]);
    });
  }
});

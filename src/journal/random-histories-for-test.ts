import fc from "fast-check";
import { isFault } from "../base/fault.ts";
import { drawPointId } from "../core/ids.ts";
import type { Journal, View } from "../core/journal.ts";
import { blockSizeBytes, sectorSizeBytes } from "../core/limits.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { dirtyRuns, TestHistory } from "./history-for-test.ts";
import { memoryVault, type TestVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;
/** States of the ledger are written often, so that restarts begin at all kinds of them. */
const checkpointSpans = { runningRecords: 7, closingRecords: 3 };

interface World {
  readonly vault: TestVault;
  readonly history: TestHistory;
  journal: DirectoryJournal;
  /** Views held open while everything else goes on. */
  readonly held: View[];
}

/** What may happen; each is given a number to choose by. */
const acts: Readonly<Record<string, (world: World, choice: number) => Promise<unknown>>> = {
  seal: ({ history, journal }, choice) => {
    history.scribble(1 + (choice % 5));
    return history.seal(journal);
  },
  idle: ({ history, journal }) => history.seal(journal),
  addDisk: async ({ history, journal }, choice) => {
    if (history.disks.length < 3)
      history.addDisk("db/more", sectorSizeBytes * (1 + (choice % 900)));
    await history.seal(journal);
  },
  removeDisk: async ({ history, journal }, choice) => {
    if (history.disks.length > 1) history.disks.splice(choice % history.disks.length, 1);
    await history.seal(journal);
  },
  resize: async ({ history, journal }, choice) => {
    const disk = history.disks[choice % history.disks.length]!;
    history.resize(disk, sectorSizeBytes * (1 + (choice % 3000)));
    history.scribble(1);
    await history.seal(journal);
  },
  giveUp: async ({ history, journal }) => {
    await using writer = await journal.begin(history.header(journal));
    const disk = history.disks[0]!;
    if (disk.sealedSizeBytes !== null) {
      await writer.write(disk.identity, 0, Buffer.alloc(sectorSizeBytes, 1));
    }
  },
  resync: ({ history, journal }, choice) => resync(history, journal, choice),
  thin: async ({ journal }, choice) => {
    const keep = journal.points().filter((_, place) => (choice >> (place % 16)) % 2 === 1);
    await orPinned(journal.thin({ keep: keep.map((point) => point.id), signal }));
  },
  moveBase: async ({ journal }, choice) => {
    const points = journal.points();
    const to = points[choice % Math.max(1, points.length)];
    if (to !== undefined) await orPinned(journal.moveBase({ to: to.id, signal }));
  },
  raise: async ({ history, journal }, choice) => {
    const holder = (choice % 3).toString(16).padStart(16, "0");
    history.generation = await journal.raiseGeneration({ holder, reason: "Handed over." });
  },
  confirm: async ({ journal }, choice) => {
    const head = journal.head();
    if (head === null) return;
    await journal.confirmCurrent({ point: head.id, atMs: head.instant.lowerMs + choice });
  },
  hold: async (world, choice) => {
    const points = world.journal.points();
    const point = points[choice % Math.max(1, points.length)];
    if (point !== undefined) world.held.push(await world.journal.open(point.id));
  },
  letGo: async ({ held }, choice) => {
    const [view] = held.splice(choice % Math.max(1, held.length), 1);
    await view?.[Symbol.asyncDispose]();
  },
  restart: async (world) => {
    for (const view of world.held.splice(0)) await view[Symbol.asyncDispose]();
    world.journal = await world.vault.reopen();
  },
};

async function orPinned(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isFault(error, "POINT_PINNED")) throw error;
  }
}

/** The bitmap of a disk is lost: it is compared by hash, staged where it differs, and joined with what changed meanwhile. */
async function resync(history: TestHistory, journal: Journal, choice: number): Promise<void> {
  const disk = history.disks[choice % history.disks.length]!;
  if (disk.sealedSizeBytes !== disk.content.length) return;
  history.scribble(4);
  const { name, identity, content } = disk;
  const request = { kind: "parts", disk: name, identity, sizeBytes: content.length } as const;
  await using staged = await journal.stage({ ...request, syncId: drawPointId(history.prng) });
  const blocks = Math.ceil(content.length / blockSizeBytes);
  const hashes = Buffer.alloc(blocks * 32);
  await staged.hashes(0, hashes);
  for (let block = 0; block < blocks; block += 1) {
    const bytes = content.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes);
    const hash = Buffer.from(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
    if (hash.equals(hashes.subarray(block * 32, block * 32 + 32))) continue;
    const isZero = bytes.equals(Buffer.alloc(bytes.length));
    if (isZero) await staged.zero(block * blockSizeBytes, bytes.length);
    else await staged.write(block * blockSizeBytes, bytes);
  }
  await staged.checkpoint(content.length);
  disk.dirty.fill(0);
  history.scribble(2);
  const header = history.header(journal);
  await using writer = await journal.begin(header);
  for (const changed of history.disks) {
    for (const { offsetBytes, lengthBytes } of dirtyRuns(changed)) {
      const data = changed.content.subarray(offsetBytes, offsetBytes + lengthBytes);
      await writer.write(changed.identity, offsetBytes, data);
    }
  }
  await writer.adopt(staged);
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  history.acknowledge(header.id);
}

const act = fc.tuple(fc.constantFrom(...Object.keys(acts)), fc.nat(2 ** 20));

/** Whatever happens, every point reads back as it was acknowledged: `runs` random histories; the seed is in the failure. */
export async function checkRandomHistories(runs: number): Promise<void> {
  const seeds = fc.nat(2 ** 30);
  const codec = fc.constantFrom("raw" as const, "zstd" as const);
  await fc.assert(
    fc.asyncProperty(seeds, codec, fc.array(act, { maxLength: 14 }), async (seed, stored, list) => {
      await using vault = await memoryVault({ codec: stored, checkpointSpans });
      const history = new TestHistory(seed);
      history.addDisk("db/data", 1024 * 1024 + 5 * blockSizeBytes + 1536);
      history.addDisk("db/log", 3 * blockSizeBytes);
      const world: World = { vault, history, journal: await vault.reopen(), held: [] };
      await history.seal(world.journal);
      for (const [name, choice] of list) await acts[name]!(world, choice);
      for (const view of world.held) await history.checkView(view);
      await history.check(world.journal);
      for (const view of world.held.splice(0)) await view[Symbol.asyncDispose]();
      await history.check(await vault.reopen());
    }),
    { numRuns: runs },
  );
}

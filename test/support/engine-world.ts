import { virtualClock } from "../../sim/clock.ts";
import type { DiskImage } from "../../sim/disk-image.ts";
import { Estate } from "../../sim/estate.ts";
import { simSource } from "../../sim/source.ts";
import { memoryFileSystem } from "../../src/base/memory-file-system.ts";
import { type Prng, seededPrng } from "../../src/base/prng.ts";
import { type DiskName, parseDiskName, parseGroupName } from "../../src/core/ids.ts";
import type { Journal, PointWriter } from "../../src/core/journal.ts";
import { blockSizeBytes, windowSizeBytes } from "../../src/core/limits.ts";
import type { Point } from "../../src/core/point.ts";
import type { Source } from "../../src/core/source.ts";
import { attach } from "../../src/engine/attach.ts";
import { type CycleOutcome, replicateOnce } from "../../src/engine/cycle.ts";
import type { PhaseHook } from "../../src/engine/phase.ts";
import type { GroupStanding } from "../../src/engine/standing.ts";
import { syncGroup } from "../../src/engine/sync.ts";
import { MemoryLockTable } from "../../src/journal/memory-locks.ts";
import { initVault, openVault } from "../../src/journal/vault.ts";

export const groupName = parseGroupName("erp")!;
export const dataDisk = parseDiskName("db/data")!;
export const walDisk = parseDiskName("db/wal")!;
export const neverAborted = new AbortController().signal;

/** A protected site, a vault and an oracle that remembers what every disk held at every instant. */
export interface EngineWorld {
  readonly estate: Estate;
  readonly prng: Prng;
  readonly clock: ReturnType<typeof virtualClock>;
  readonly group: { name: typeof groupName; holder: string };
  readonly instants: Map<string, ReadonlyMap<DiskName, DiskImage>>;
  /** The disks that the next `connect` is configured with. */
  disks: DiskName[];
  /** Blocks per disk that a guest may overwrite while a point is read, for the next `connect`. */
  scratchBlocksMax: number;
  /** The vault's journal in this life. */
  journal: Journal;
  points(): readonly Point[];
  /** What a process connects to when it begins. */
  connect(): { source: Source; journal: Journal };
  /** The process that holds the vault ends in order and another opens it. */
  restart(): Promise<void>;
}

/** A world in memory, with the directory journal on files in memory. */
export async function engineWorld(seed: number): Promise<EngineWorld> {
  const estate = new Estate();
  const prng = seededPrng(seed);
  const clock = virtualClock();
  const instants = new Map<string, ReadonlyMap<DiskName, DiskImage>>();
  estate.addDisk(dataDisk, { sizeBytes: 40 * blockSizeBytes });
  estate.addDisk(walDisk, { sizeBytes: 3 * blockSizeBytes + 512 });
  const files = memoryFileSystem();
  const locks = new MemoryLockTable(files);
  const directory = "/vault";
  await initVault(files, directory, { clock, prng });
  const open = async () => {
    const process = locks.process();
    const options = { files, directory, locks: process.locks, clock, prng, codec: "raw" } as const;
    const vault = await openVault({ ...options, mode: "write" });
    await vault.createGroup(groupName);
    return { vault, journal: await vault.journal(groupName) };
  };
  let opened = await open();
  const world: EngineWorld = {
    estate,
    prng,
    clock,
    group: { name: groupName, holder: "00000000000000aa" },
    instants,
    disks: [dataDisk, walDisk],
    scratchBlocksMax: 1000,
    journal: opened.journal,
    points: () => world.journal.points(),
    connect: () => ({
      source: simSource({
        estate,
        group: groupName,
        disks: world.disks,
        scratchBlocksMax: world.scratchBlocksMax,
        clock,
        onInstant: (id, images) => instants.set(id, images),
      }),
      journal: world.journal,
    }),
    restart: async () => {
      await opened.journal[Symbol.asyncDispose]();
      await opened.vault[Symbol.asyncDispose]();
      opened = await open();
      world.journal = opened.journal;
    },
  };
  return world;
}

/** The journal with some of its methods replaced. */
export function journalWith(journal: Journal, replaced: Partial<Journal>): Journal {
  return {
    head: () => journal.head(),
    ask: () => journal.ask(),
    confirmCurrent: (confirmation) => journal.confirmCurrent(confirmation),
    owedSince: () => journal.owedSince(),
    points: () => journal.points(),
    begin: (header) => journal.begin(header),
    stage: (request) => journal.stage(request),
    staged: () => journal.staged(),
    open: (point) => journal.open(point),
    [Symbol.asyncDispose]: async () => {},
    ...replaced,
  };
}

/** The journal, its writers with some of their methods replaced. */
export function journalWithWriter(
  journal: Journal,
  replace: (writer: PointWriter) => Partial<PointWriter>,
): Journal {
  return journalWith(journal, {
    begin: async (header) => {
      const writer = await journal.begin(header);
      return {
        write: (disk, offsetBytes, data) => writer.write(disk, offsetBytes, data),
        zero: (disk, offsetBytes, lengthBytes) => writer.zero(disk, offsetBytes, lengthBytes),
        writeStored: (disk, chunk) => writer.writeStored(disk, chunk),
        adopt: (staged) => writer.adopt(staged),
        seal: (sealing) => writer.seal(sealing),
        [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
        ...replace(writer),
      };
    },
  });
}

/** Attaches, syncs what must be and cuts one point, as a process that starts would. */
export async function liveOnce(
  world: EngineWorld,
  options: { onPhase?: PhaseHook; signal?: AbortSignal } = {},
): Promise<CycleOutcome> {
  const { source, journal } = world.connect();
  const signal = options.signal ?? neverAborted;
  const { clock, prng, group } = world;
  const hook = options.onPhase === undefined ? {} : { onPhase: options.onPhase };
  const attached = await attach({ source, journal, group, prng, signal });
  const standing = await syncGroup(attached.standing, { source, journal, clock, signal, ...hook });
  return replicateOnce({ source, journal, group, standing, clock, prng, signal, ...hook });
}

/** One more point from where the last left off, in the same life. */
export async function cutNext(
  world: EngineWorld,
  standing: GroupStanding,
  options: { onPhase?: PhaseHook; signal?: AbortSignal } = {},
): Promise<CycleOutcome> {
  const { source, journal } = world.connect();
  const { clock, prng, group } = world;
  const signal = neverAborted;
  return replicateOnce({ source, journal, group, standing, clock, prng, signal, ...options });
}

/** Something a guest does: a write, a trim, a write of zeroes; any alignment to sectors. */
export function guestActs(world: EngineWorld, times = 1): void {
  const { prng, estate } = world;
  for (let round = 0; round < times; round += 1) {
    const names = [...estate.disks.keys()];
    const name = names[prng.below(names.length)]!;
    const sectors = estate.disk(name).image.sizeBytes / 512;
    const start = prng.below(sectors);
    const length = Math.min(sectors - start, 1 + prng.below(400)) * 512;
    const kind = prng.below(4);
    if (kind === 0) {
      estate.trim(name, start * 512, length);
    } else {
      const bytes = new Uint8Array(length);
      if (kind !== 1) bytes.fill(1 + prng.below(255));
      estate.write(name, start * 512, bytes);
    }
  }
}

/** The sealed points, newest or all, whose disks differ from what the source held at their instant: must be none. */
export async function wrongPoints(world: EngineWorld): Promise<readonly string[]> {
  const wrong: string[] = [];
  const { journal } = world.connect();
  for (const point of journal.points()) {
    await using view = await journal.open(point.id);
    const images = world.instants.get(point.id);
    const names = view.disks.map((disk) => disk.name).sort();
    if (images === undefined || [...images.keys()].sort().join() !== names.join()) {
      wrong.push(`#${point.sequence}: disks ${names.join()}`);
      continue;
    }
    for (const disk of view.disks) {
      const image = images.get(disk.name)!;
      if (disk.sizeBytes !== image.sizeBytes) wrong.push(`#${point.sequence} ${disk.name}: size`);
      for (let at = 0; at < image.sizeBytes; at += windowSizeBytes) {
        const lengthBytes = Math.min(windowSizeBytes, image.sizeBytes - at);
        const [held, truth] = [Buffer.alloc(lengthBytes), Buffer.alloc(lengthBytes)];
        await view.read(disk.identity, at, held);
        image.read(at, truth);
        if (!held.equals(truth)) wrong.push(`#${point.sequence} ${disk.name}: content at ${at}`);
      }
    }
  }
  return wrong;
}

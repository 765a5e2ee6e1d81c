import { systemClock } from "../src/base/clock.ts";
import type { FileSystem, StoredFile } from "../src/base/file-system.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { seededPrng, systemPrng } from "../src/base/prng.ts";
import { GIB } from "../src/base/units.ts";
import {
  type DiskIdentity,
  type DiskName,
  drawDiskIdentity,
  drawPointId,
  type GroupName,
} from "../src/core/ids.ts";
import { blockSizeBytes, windowSizeBytes } from "../src/core/limits.ts";
import type { PointDisk, PointHeader } from "../src/core/point.ts";
import type { Codec } from "../src/format/codec.ts";
import type { DirectoryJournal } from "../src/journal/directory-journal.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { initVault, openVault } from "../src/journal/vault.ts";

export const benchGroup = "bench" as GroupName;

/** Options of a vault that is opened for reading by this process's own rules. */
export function vaultOptions(directory: string, files = nodeFileSystem()) {
  const [clock, prng] = [systemClock(), systemPrng()];
  return { files, directory, locks: sqliteLocks(), clock, prng };
}

/** The host's files without waiting for the medium: a vault that is made for a bench may be lost in a power cut. */
function unsyncedFiles(): FileSystem {
  const files = nodeFileSystem();
  const unsynced = (file: StoredFile): StoredFile => ({
    ...file,
    sync: async () => {},
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  });
  return {
    ...files,
    syncDirectory: async () => {},
    open: async (path, mode) => unsynced(await files.open(path, mode)),
  };
}

/** Makes a vault with one disk and lets `fill` seal its points. */
async function makeVault(
  directory: string,
  options: { sizeBytes: number; codec: Codec },
  fill: (seal: Seal, identity: DiskIdentity) => Promise<void>,
): Promise<void> {
  const parts = { ...vaultOptions(directory, unsyncedFiles()), codec: options.codec };
  await initVault(parts.files, directory, parts);
  await using vault = await openVault({ ...parts, mode: "write" });
  await vault.createGroup(benchGroup);
  await using journal = await vault.journal(benchGroup);
  const identity = drawDiskIdentity(parts.prng);
  const disk = { name: "vm/disk" as DiskName, identity, sizeBytes: options.sizeBytes };
  const seal: Seal = async (extents) => {
    const header = headerFor(journal, disk, drawPointId(parts.prng));
    await using resources = new AsyncDisposableStack();
    const writer = resources.use(await journal.begin(header));
    for (const { offsetBytes, data } of extents) await writer.write(identity, offsetBytes, data);
    if (header.fromPoint === null) {
      const request = { kind: "base", disk: disk.name, syncId: header.id } as const;
      const { sizeBytes } = disk;
      const staged = await journal.stage({ ...request, identity, sizeBytes });
      await writer.adopt(resources.use(staged));
    }
    await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  };
  await fill(seal, identity);
}

type Seal = (extents: Iterable<{ offsetBytes: number; data: Uint8Array }>) => Promise<void>;

function headerFor(
  journal: DirectoryJournal,
  disk: Omit<PointDisk, "previousSizeBytes">,
  id: PointHeader["id"],
): PointHeader {
  const head = journal.head();
  const lowerMs = 1_700_000_000_000 + (head?.sequence ?? 0) * 2000;
  return {
    id,
    group: benchGroup,
    generation: { number: 1, holder: "00000000000000aa" },
    sequence: (head?.sequence ?? 0) + 1,
    fromSequence: head?.sequence ?? 0,
    fromPoint: head?.id ?? null,
    instant: { lowerMs, upperMs: lowerMs + 3, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "Nothing more was asked.",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [{ ...disk, previousSizeBytes: head === null ? null : disk.sizeBytes }],
    machines: [],
    notes: [],
  };
}

/** Ten thousand deltas of a hundred extents each, 4 KiB apiece, spread over a disk of 100 GiB. */
export async function makeManyDeltas(
  directory: string,
  { deltas, extentsEach }: { deltas: number; extentsEach: number },
): Promise<void> {
  const sizeBytes = 100 * GIB;
  const prng = seededPrng(11);
  const data = new Uint8Array(4096);
  prng.fill(data);
  const blocks = sizeBytes / blockSizeBytes;
  await makeVault(directory, { sizeBytes, codec: "raw" }, async (seal) => {
    for (let delta = 0; delta < deltas; delta += 1) {
      const places = new Set<number>();
      while (places.size < extentsEach) places.add(prng.below(blocks));
      const sorted = [...places].sort((left, right) => left - right);
      await seal(sorted.map((block) => ({ offsetBytes: block * blockSizeBytes, data })));
    }
  });
}

/** A disk of random data in a few deltas, each with every so manieth window: what a reader of a young point meets. */
export async function makeFewDeltas(
  directory: string,
  { sizeBytes, deltas }: { sizeBytes: number; deltas: number },
): Promise<void> {
  const prng = seededPrng(12);
  const data = Buffer.allocUnsafe(windowSizeBytes);
  await makeVault(directory, { sizeBytes, codec: "raw" }, async (seal) => {
    for (let delta = 0; delta < deltas; delta += 1) {
      await seal(
        (function* () {
          for (let at = delta * windowSizeBytes; at < sizeBytes; at += deltas * windowSizeBytes) {
            fillFast(prng, data);
            yield { offsetBytes: at, data };
          }
        })(),
      );
    }
  });
}

/** Random enough that nothing compresses or repeats: a random block and a counter in every sector of it. */
function fillFast(
  prng: { fill(into: Uint8Array): void; below(bound: number): number },
  data: Buffer,
) {
  const block = Buffer.allocUnsafe(4096);
  prng.fill(block);
  for (let at = 0; at < data.length; at += block.length) {
    block.copy(data, at);
    data.writeUInt32LE(prng.below(2 ** 32), at);
  }
}

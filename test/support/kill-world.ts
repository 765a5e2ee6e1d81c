import { createHash } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { nodeFileSystem } from "../../src/base/node-file-system.ts";
import { systemPrng } from "../../src/base/prng.ts";
import { MIB } from "../../src/base/units.ts";
import { type DiskName, type MachineName, parseGroupName } from "../../src/core/ids.ts";
import type { Source } from "../../src/core/source.ts";
import { attach } from "../../src/engine/attach.ts";
import { type CycleOutcome, replicateOnce } from "../../src/engine/cycle.ts";
import type { PhaseHook } from "../../src/engine/phase.ts";
import { syncGroup } from "../../src/engine/sync.ts";
import type { DirectoryJournal } from "../../src/journal/directory-journal.ts";
import { moveBase } from "../../src/journal/move-base.ts";
import { sqliteLocks } from "../../src/journal/sqlite-locks.ts";
import { thin } from "../../src/journal/thin.ts";
import { initVault, openVault } from "../../src/journal/vault.ts";
import type { SourcePhase } from "../../src/source/qemu/phase.ts";
import { qemuSource } from "../../src/source/qemu/source.ts";

// One group of one machine "db", replicated by whichever process opens it: the test itself or a child that is killed.

export const killGroup = parseGroupName("erp")!;
export const killDisks = [
  { name: "data", sizeBytes: 6 * MIB },
  { name: "wal", sizeBytes: 2 * MIB + 512 },
] as const;

/** What a child of the kill tests is asked to do, as JSON in its first argument. */
export interface KillOrder {
  /** Of the test's host: images, sockets, scratch and vault. */
  readonly directory: string;
  readonly act: "cycle" | "thin" | "move-base";
  /** One of the exported lists; of the source's "source NAME". SIGKILL itself when it hears it for the `nth` time, from 1. */
  readonly phase: string;
  readonly nth: number;
}

/** The group's source on a host of `testHost`. */
export function killSource(
  directory: string,
  onPhase?: (phase: string) => Promise<void> | void,
): Source {
  const hook = (phase: SourcePhase) => onPhase?.(`source ${phase}`);
  return qemuSource({
    group: killGroup,
    machines: [
      {
        name: "db" as MachineName,
        qmpPath: join(directory, "db.qmp"),
        disks: killDisks.map(({ name }) => ({
          name,
          node: name,
          image: join(directory, `db-${name}.img`),
          tracking: "persistent",
        })),
      },
    ],
    scratch: { directory: join(directory, "scratch"), capBytes: 64 * MIB },
    clock: systemClock(),
    files: nodeFileSystem(),
    onPhase: hook,
  });
}

/** The group's journal, made when it is not there. */
export async function killJournal(
  directory: string,
): Promise<AsyncDisposable & { readonly journal: DirectoryJournal }> {
  const [clock, prng, files] = [systemClock(), systemPrng(), nodeFileSystem()];
  const path = join(directory, "vault");
  if ((await files.stat(join(path, "vault.json"))) === null) {
    await initVault(files, path, { clock, prng });
  }
  const options = { files, directory: path, mode: "write", clock, prng } as const;
  const vault = await openVault({ ...options, locks: sqliteLocks() });
  await vault.createGroup(killGroup);
  const journal = await vault.journal(killGroup);
  return {
    journal,
    [Symbol.asyncDispose]: async () => {
      await journal[Symbol.asyncDispose]();
      await vault[Symbol.asyncDispose]();
    },
  };
}

/** One life of the replicator: attach, sync what must be, one point. */
export async function replicate(
  directory: string,
  onPhase?: (phase: string) => Promise<void> | void,
): Promise<CycleOutcome> {
  await using source = killSource(directory, onPhase);
  await using opened = await killJournal(directory);
  const { journal } = opened;
  const [clock, prng] = [systemClock(), systemPrng()];
  const { signal } = new AbortController();
  const hook: { onPhase?: PhaseHook } = onPhase === undefined ? {} : { onPhase };
  const group = { name: killGroup, holder: "00000000000000aa" };
  const attached = await attach({ source, journal, group, prng, signal });
  const standing = await syncGroup(attached.standing, { source, journal, clock, signal, ...hook });
  return await replicateOnce({ source, journal, group, standing, clock, prng, signal, ...hook });
}

/** Thinning to the oldest and the newest point, or moving the base to the newest but one. */
export async function changeHistory(
  directory: string,
  act: "thin" | "move-base",
  onPhase: (phase: string) => Promise<void> = async () => {},
): Promise<void> {
  await using opened = await killJournal(directory);
  const { journal } = opened;
  const { signal } = new AbortController();
  const points = journal.points();
  if (act === "thin") await thin(journal, { keep: [points[0]!.id], signal, onPhase });
  else await moveBase(journal, { to: points.at(-2)!.id, signal, onPhase });
}

/** SHA-256 of each of the point's disks, by name. */
export async function hashesAt(
  journal: DirectoryJournal,
  sequence: number,
): Promise<ReadonlyMap<DiskName, string>> {
  const point = journal.points().find((one) => one.sequence === sequence)!;
  await using view = await journal.open(point.id);
  const hashes = new Map<DiskName, string>();
  for (const disk of view.disks) {
    const bytes = Buffer.alloc(disk.sizeBytes);
    await view.read(disk.identity, 0, bytes);
    hashes.set(disk.name, createHash("sha256").update(bytes).digest("hex"));
  }
  return hashes;
}

import { dirname } from "node:path";
import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import { KIB } from "../base/units.ts";
import { type DiskName, type GroupName, parseGroupName } from "../core/ids.ts";
import type { Codec } from "../format/codec.ts";
import { type CodecOf, type DirectoryJournal, openDirectoryJournal } from "./directory-journal.ts";
import { type GroupReader, openGroupReader } from "./group.ts";
import type { CheckpointSpans } from "./ledger-checkpoint.ts";
import { LedgerFile } from "./ledger-file.ts";
import { groupLayout, groupsDirectory, vaultFile, writerLockFile } from "./vault-layout.ts";
import type { VaultLocks } from "./vault-locks.ts";

/** Version of the layout that this program writes; it reads this one and older ones. */
export const vaultVersion = 1;
const descriptionLengthBytesMax = 64 * KIB;
const descriptionSchema = z.object({
  format: z.literal("afterimage-vault"),
  version: z.int().min(1),
  id: z.string().regex(/^[0-9a-f]{16}$/),
  createdAtMs: z.int(),
});

/** What a vault says of itself. */
export interface VaultDescription {
  /** 16 hex digits that tell vaults apart. */
  readonly id: string;
  readonly createdAtMs: number;
}

/** Makes an empty vault. The directory must be missing or empty (VAULT_EXISTS). */
export async function initVault(
  files: FileSystem,
  directory: string,
  { clock, prng }: { clock: Clock; prng: Prng },
): Promise<VaultDescription> {
  // Points are what the disks hold: whoever else may read them is its owner's to say.
  await files.makeDirectory(directory, { isPrivate: true });
  const held = await files.list(directory);
  // An earlier init that was interrupted may be finished; anything else is not ours to mix with.
  if (held.some((name) => !["groups", "writer.lock", "vault.json.part"].includes(name))) {
    const message = `${directory}: the directory is not empty`;
    throw new Fault("VAULT_EXISTS", message, { path: directory });
  }
  await files.makeDirectory(groupsDirectory(directory));
  const lockPath = writerLockFile(directory);
  if ((await files.stat(lockPath)) === null) {
    await using _lock = await files.open(lockPath, "create");
  }
  // A description that outlives a power cut must find the lock beside it.
  await files.syncDirectory(directory);
  const description = { id: randomHex(prng, 8), createdAtMs: Math.floor(clock.nowMs()) };
  const text = JSON.stringify({
    format: "afterimage-vault",
    version: vaultVersion,
    ...description,
  });
  await writeFileAtomically(files, vaultFile(directory), Buffer.from(`${text}\n`));
  await files.syncDirectory(dirname(directory));
  return description;
}

export interface OpenVaultOptions {
  readonly files: FileSystem;
  readonly directory: string;
  /** `write`: at most one process at a time (VAULT_BUSY). `read`: any number, also beside the writer. */
  readonly mode: "write" | "read";
  readonly locks: VaultLocks;
  readonly clock: Clock;
  readonly prng: Prng;
  /** How new deltas are stored; `raw` when not given. */
  readonly codec?: Codec;
  /** Instead of `codec`, by disk and group and at any time anew; what comes compressed stays so. */
  readonly codecOf?: (disk: DiskName, group: GroupName) => Codec;
  /** How often what a ledger adds up to is written, for tests. */
  readonly checkpointSpans?: CheckpointSpans;
}

/** An open vault. Disposing releases the writer lock; journals and views opened from it must be disposed before. */
export interface Vault extends AsyncDisposable {
  readonly directory: string;
  readonly description: VaultDescription;
  /** Names of the groups, sorted. */
  groups(): Promise<readonly GroupName[]>;
  /** Makes a group; one that is there already is not an error. Needs `write`. */
  createGroup(name: GroupName): Promise<void>;
  /** Opens a group for writing, after recovering what the last writer left. Needs `write`. GROUP_UNKNOWN, LEDGER_CORRUPT. */
  journal(name: GroupName): Promise<DirectoryJournal>;
  /** Opens a group for reading, in either mode. GROUP_UNKNOWN, LEDGER_CORRUPT. */
  reader(name: GroupName): Promise<GroupReader>;
}

/** Opens a vault. VAULT_MISSING, VAULT_VERSION, VAULT_BUSY. */
export async function openVault(options: OpenVaultOptions): Promise<Vault> {
  const { files, directory, locks, mode } = options;
  const description = await readDescription(files, directory);
  const lock = mode === "write" ? await takeWriterLock(locks, directory) : null;
  const groupOptions = (name: GroupName) => ({
    files,
    layout: groupLayout(directory, name),
    locks,
    prng: options.prng,
  });
  const mustExist = async (name: GroupName) => {
    if ((await files.stat(groupLayout(directory, name).ledger)) !== null) return;
    throw new Fault("GROUP_UNKNOWN", `${directory}: there is no group ${name}`, { group: name });
  };
  return {
    directory,
    description,
    groups: () => listGroups(files, directory),
    createGroup: async (name) => {
      requireLock(lock);
      await createGroup(options, name, description.id);
    },
    journal: async (name) => {
      requireLock(lock);
      await mustExist(name);
      const { clock, codec = "raw", codecOf, checkpointSpans } = options;
      const ofGroup: CodecOf = (disk) => codecOf?.(disk, name) ?? codec;
      const storing = codecOf === undefined ? { codec } : { codec, codecOf: ofGroup };
      const spans = checkpointSpans === undefined ? {} : { checkpointSpans };
      return openDirectoryJournal({ ...groupOptions(name), clock, ...storing, ...spans });
    },
    reader: async (name) => {
      await mustExist(name);
      return openGroupReader(groupOptions(name));
    },
    [Symbol.asyncDispose]: async () => await lock?.[Symbol.asyncDispose](),
  };
}

function requireLock(lock: AsyncDisposable | null): void {
  if (lock === null) throw new TypeError("the vault is open for reading only");
}

async function takeWriterLock(locks: VaultLocks, directory: string): Promise<AsyncDisposable> {
  const lock = await locks.take(writerLockFile(directory));
  if (lock !== null) return lock;
  const message = `${directory}: another process has the vault open for writing`;
  throw new Fault("VAULT_BUSY", message, { path: directory });
}

async function readDescription(files: FileSystem, directory: string): Promise<VaultDescription> {
  const path = vaultFile(directory);
  const content = await readSmallFile(files, path, descriptionLengthBytesMax);
  const missing = new Fault("VAULT_MISSING", `${directory}: not a vault`, { path: directory });
  if (content === null) throw missing;
  const parsed = descriptionSchema.safeParse(parseJson(content));
  if (!parsed.success) throw missing;
  const { version, id, createdAtMs } = parsed.data;
  if (version > vaultVersion) {
    const message = `${directory}: the vault has version ${version}, this program knows ${vaultVersion}`;
    throw new Fault("VAULT_VERSION", message, { path: directory, version });
  }
  return { id, createdAtMs };
}

async function listGroups(files: FileSystem, directory: string): Promise<readonly GroupName[]> {
  const names: GroupName[] = [];
  for (const text of await files.list(groupsDirectory(directory))) {
    const name = parseGroupName(text);
    if (name === null) continue;
    if ((await files.stat(groupLayout(directory, name).ledger)) !== null) names.push(name);
  }
  return names;
}

/** The ledger comes last: a directory without one is no group yet, and making it again finishes it. */
async function createGroup(options: OpenVaultOptions, name: GroupName, vault: string) {
  const { files, directory, clock } = options;
  const layout = groupLayout(directory, name);
  if ((await files.stat(layout.ledger)) !== null) return;
  const { deltas, incoming, base, staged, pins, machines } = layout;
  for (const path of [deltas, incoming, base, staged, pins, machines]) {
    await files.makeDirectory(path);
  }
  await files.syncDirectory(layout.directory);
  await files.syncDirectory(groupsDirectory(directory));
  const partPath = `${layout.ledger}.part`;
  await files.remove(partPath);
  await LedgerFile.create(files, partPath, clock, {
    kind: "group-created",
    body: { group: name, vault },
  });
  await files.rename(partPath, layout.ledger);
  await files.syncDirectory(layout.directory);
}

function parseJson(content: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(content).toString("utf8"));
  } catch {
    return null; // Decided by the caller: no JSON is no vault.
  }
}

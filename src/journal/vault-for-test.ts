import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import type { Codec } from "../format/codec.ts";
import type { CodecOf, DirectoryJournal } from "./directory-journal.ts";
import { testGroup } from "./history-for-test.ts";
import type { CheckpointSpans } from "./ledger-checkpoint.ts";
import { MemoryLockTable } from "./memory-locks.ts";
import { sqliteLocks } from "./sqlite-locks.ts";
import { initVault, openVault, type Vault } from "./vault.ts";
import { type GroupLayout, groupLayout } from "./vault-layout.ts";
import type { VaultLocks } from "./vault-locks.ts";

/** A vault with the group `testGroup`, in memory or in a directory of its own. */
export interface TestVault extends AsyncDisposable {
  readonly files: FileSystem;
  readonly directory: string;
  readonly layout: GroupLayout;
  /** Opens the vault for writing anew, as a restart would. */
  reopen(): Promise<DirectoryJournal>;
  /** Closes what `reopen` opened: the vault has no writer then. */
  close(): Promise<void>;
  /** As if the process died: its locks are free, nothing was closed. */
  kill(): void;
  /** The vault as another process has it. */
  reader(): Promise<Vault>;
}

export interface TestVaultOptions {
  readonly codec?: Codec;
  readonly codecOf?: CodecOf;
  readonly clock?: Clock;
  readonly checkpointSpans?: CheckpointSpans;
  /** Stands between the journal and its files. */
  readonly wrap?: (files: FileSystem) => FileSystem;
}

export async function memoryVault(options: TestVaultOptions = {}): Promise<TestVault> {
  const files = memoryFileSystem();
  const table = new MemoryLockTable(files);
  let process = table.process();
  const kill = () => {
    process.kill();
    process = table.process();
  };
  const locks = () => process.locks;
  const other = table.process().locks;
  return testVault(options, {
    files,
    directory: "/vault",
    locks,
    other,
    kill,
    remove: async () => {},
  });
}

export async function nodeVault(options: TestVaultOptions = {}): Promise<TestVault> {
  const root = await mkdtemp(join(tmpdir(), "afterimage-vault-"));
  const locks = sqliteLocks();
  return testVault(options, {
    files: nodeFileSystem(),
    directory: join(root, "vault"),
    locks: () => locks,
    other: locks,
    kill: () => {
      throw new TypeError("a real process cannot be killed from within");
    },
    remove: () => rm(root, { recursive: true, force: true }),
  });
}

async function testVault(
  options: TestVaultOptions,
  medium: {
    files: FileSystem;
    directory: string;
    locks: () => VaultLocks;
    other: VaultLocks;
    kill: () => void;
    remove: () => Promise<void>;
  },
): Promise<TestVault> {
  const { files, directory } = medium;
  const parts = { directory, clock: options.clock ?? systemClock(), prng: seededPrng(99) };
  await initVault(files, directory, parts);
  let open: { vault: Vault; journal: DirectoryJournal } | null = null;
  const close = async () => {
    await open?.journal[Symbol.asyncDispose]();
    await open?.vault[Symbol.asyncDispose]();
    open = null;
  };
  return {
    files,
    directory,
    layout: groupLayout(directory, testGroup),
    reopen: async () => {
      await close();
      const {
        codec = "raw",
        codecOf,
        checkpointSpans: spans,
        wrap = (inner: FileSystem) => inner,
      } = options;
      const vault = await openVault({
        ...parts,
        files: wrap(files),
        mode: "write",
        locks: medium.locks(),
        codec,
        ...(codecOf === undefined ? {} : { codecOf }),
        ...(spans === undefined ? {} : { checkpointSpans: spans }),
      });
      await vault.createGroup(testGroup);
      const journal = await vault.journal(testGroup);
      open = { vault, journal };
      return journal;
    },
    close,
    kill: () => {
      open = null;
      medium.kill();
    },
    reader: () => openVault({ ...parts, files, mode: "read", locks: medium.other }),
    [Symbol.asyncDispose]: async () => {
      await close();
      await medium.remove();
    },
  };
}

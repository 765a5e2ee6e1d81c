import { dirname } from "node:path/posix";
import type { FileSystem, StoredFile } from "../src/base/file-system.ts";
import type { StagedDisk } from "../src/core/journal.ts";
import type { MakeSeams } from "./seams.ts";

function alteredFile(file: StoredFile, changes: Partial<StoredFile>): StoredFile {
  return {
    path: file.path,
    read: (into, positionBytes) => file.read(into, positionBytes),
    write: (from, positionBytes) => file.write(from, positionBytes),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    punch: (positionBytes, lengthBytes) => file.punch(positionBytes, lengthBytes),
    sync: () => file.sync(),
    sizeBytes: () => file.sizeBytes(),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    ...changes,
  };
}

/** Syncs of files beneath a directory of the group do nothing. */
function unsynced(directory: string): MakeSeams {
  return () => ({
    files: (files) => ({
      ...files,
      open: async (path, mode) => {
        const file = await files.open(path, mode);
        return path.includes(`/${directory}`) ? alteredFile(file, { sync: async () => {} }) : file;
      },
    }),
  });
}

/** The delta is acknowledged before its content is durable. */
export const ackBeforeSync = unsynced("incoming/");
/** Deltas go before the base that took them up is durable; a sync's checkpoint vouches for what is not. */
export const baseNotSynced = unsynced("base/");

/** The delta is renamed into place, and the directory left to chance. */
export const renameNotSynced: MakeSeams = () => ({
  files: (files) => ({
    ...files,
    syncDirectory: async (path) => {
      if (!path.endsWith("/deltas")) await files.syncDirectory(path);
    },
  }),
});

const callsBetween = 8;

/** The ledger tells of a delta that comes into its place only afterwards. */
export const recordBeforeRename: MakeSeams = () => ({
  files: (files) => {
    const owed = new Map<string, string>();
    const settle = async () => {
      for (const [to, from] of owed) {
        owed.delete(to);
        // Whoever orders the two wrongly has something else to do between them, too.
        for (let call = 0; call < callsBetween; call += 1) await files.stat(from);
        await files.rename(from, to);
        await files.syncDirectory(dirname(to));
      }
    };
    return {
      ...files,
      rename: async (from, to) => {
        if (!to.includes("/deltas/")) return files.rename(from, to);
        owed.set(to, from);
      },
      open: (path, mode) => openSettling({ files, owed, settle }, path, mode),
    };
  },
});

async function openSettling(
  room: { files: FileSystem; owed: ReadonlyMap<string, string>; settle: () => Promise<void> },
  path: string,
  mode: "read" | "create" | "write",
): Promise<StoredFile> {
  if (room.owed.has(path)) await room.settle();
  const file = await room.files.open(path, mode);
  if (!path.endsWith("/ledger")) return file;
  return alteredFile(file, {
    sync: async () => {
      await file.sync();
      await room.settle();
    },
  });
}

/** A resync takes what is unallocated for unchanged. */
export const unallocatedSkipped: MakeSeams = () => ({
  vault: (vault) => {
    const stage = vault.journal.stage.bind(vault.journal);
    vault.journal.stage = async (request) => {
      const staged = await stage(request);
      if (request.kind === "parts") skipZeroes(staged);
      return staged;
    };
    return vault;
  },
});

function skipZeroes(staged: StagedDisk): void {
  staged.zero = async () => {};
}

/** Pins are not seen: whoever retires believes that nobody reads. */
export const pinsIgnored: MakeSeams = () => ({
  locks: (locks) => ({
    take: async (path) => {
      const held = await locks.take(path);
      if (held !== null || !path.endsWith(".pin")) return held;
      return { path, [Symbol.asyncDispose]: async () => {} };
    },
  }),
});

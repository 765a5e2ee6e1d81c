import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { Fault } from "./fault.ts";
import type { FaultCode } from "./fault-table.ts";
import type { FileSystem, StoredFile, StoredFileStatus } from "./file-system.ts";
import { MIB } from "./units.ts";

const openFlags = { read: "r", create: "wx+", write: "r+" } as const;
/** Below this a hole is not worth a process: zeroes are written instead. */
const punchMinBytes = MIB;
const zeroes = new Uint8Array(MIB);

/** The host's file system. */
export function nodeFileSystem(): FileSystem {
  return {
    usesThreads: true,
    open: (path, mode, options) =>
      guarded(path, async () => {
        const permissions = options?.isPrivate === true ? 0o600 : 0o666;
        return nodeFile(path, await open(path, openFlags[mode], permissions));
      }),
    rename: (from, to) => guarded(to, () => rename(from, to)),
    remove: (path) => guarded(path, () => rm(path, { force: true })),
    removeDirectory: (path) => guarded(path, () => rm(path, { force: true, recursive: true })),
    list: (directory) => guarded(directory, () => listNames(directory)),
    makeDirectory: (path, { isPrivate = false } = {}) =>
      guarded(path, async () => {
        await mkdir(path, { recursive: true, mode: isPrivate ? 0o700 : 0o777 });
      }),
    syncDirectory: (directory) => guarded(directory, () => syncDirectory(directory)),
    stat: (path) => guarded(path, () => statusOf(path)),
    freeBytes: (path) =>
      guarded(path, async () => {
        const { bavail, bsize } = await statfs(path);
        return bavail * bsize;
      }),
  };
}

function nodeFile(path: string, handle: FileHandle): StoredFile {
  return {
    path,
    read: (into, positionBytes) => guarded(path, () => readFully(handle, into, positionBytes)),
    write: (from, positionBytes) => guarded(path, () => writeFully(handle, from, positionBytes)),
    truncate: (sizeBytes) => guarded(path, () => handle.truncate(sizeBytes)),
    punch: (positionBytes, lengthBytes) =>
      guarded(path, () => punch(path, handle, positionBytes, lengthBytes)),
    sync: () => guarded(path, () => handle.datasync()),
    sizeBytes: () => guarded(path, async () => (await handle.stat()).size),
    [Symbol.asyncDispose]: () => guarded(path, () => handle.close()),
  };
}

async function readFully(handle: FileHandle, into: Uint8Array, positionBytes: number) {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await handle.read(
      into,
      filled,
      into.length - filled,
      positionBytes + filled,
    );
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function writeFully(handle: FileHandle, from: Uint8Array, positionBytes: number) {
  let written = 0;
  while (written < from.length) {
    const left = from.length - written;
    written += (await handle.write(from, written, left, positionBytes + written)).bytesWritten;
  }
}

async function punch(path: string, handle: FileHandle, positionBytes: number, lengthBytes: number) {
  if (lengthBytes >= punchMinBytes) {
    // Node has no fallocate; util-linux has. Where the medium cannot punch, zeroes are written below.
    const range = ["-p", "-o", String(positionBytes), "-l", String(lengthBytes)];
    const child = spawn("fallocate", [...range, path], { stdio: "ignore" });
    const ended = await once(child, "exit").catch(() => [1]);
    if (ended[0] === 0) return;
  }
  const endBytes = positionBytes + lengthBytes;
  for (let at = positionBytes; at < endBytes; at += zeroes.length) {
    await writeFully(handle, zeroes.subarray(0, Math.min(zeroes.length, endBytes - at)), at);
  }
}

async function listNames(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, "r");
  await handle.sync();
}

async function statusOf(path: string): Promise<StoredFileStatus | null> {
  try {
    const found = await stat(path);
    return {
      kind: found.isFile() ? "file" : found.isDirectory() ? "directory" : "other",
      sizeBytes: found.size,
      allocatedBytes: found.blocks * 512, // st_blocks counts 512-byte units (POSIX sys/stat.h, Linux).
      modifiedAtMs: found.mtimeMs,
    };
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return null;
    throw error;
  }
}

const faultOfErrno: Readonly<Record<string, FaultCode>> = {
  ENOSPC: "STORAGE_FULL",
  EDQUOT: "STORAGE_FULL",
  EFBIG: "STORAGE_FULL",
  EACCES: "STORAGE_DENIED",
  EPERM: "STORAGE_DENIED",
  EROFS: "STORAGE_DENIED",
  ENOENT: "STORAGE_MISSING",
  ENOTDIR: "STORAGE_MISSING",
};

async function guarded<Value>(path: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    const errno = errorCode(error);
    if (errno === null) throw error;
    const reason = errno === "EEXIST" ? "exists" : errno;
    const code = faultOfErrno[errno] ?? "STORAGE_FAILED";
    throw new Fault(code, `${path}: ${errno}`, { path, reason }, { cause: error });
  }
}

function errorCode(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}

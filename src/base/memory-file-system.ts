import { dirname } from "node:path/posix";
import { Fault } from "./fault.ts";
import type { FaultCode } from "./fault-table.ts";
import type { FileSystem, StoredFile, StoredFileStatus } from "./file-system.ts";
import { SparseBytes } from "./sparse-bytes.ts";
import { GIB } from "./units.ts";

export interface MemoryFileSystemOptions {
  /** Beyond this many allocated bytes writes reject with STORAGE_FULL. */
  readonly capacityBytes?: number;
  /** Wall clock for `modifiedAtMs`; a counter of changes when not given. */
  readonly nowMs?: () => number;
}

type Node = FileNode | DirectoryNode;
interface FileNode {
  readonly kind: "file";
  readonly content: SparseBytes;
  modifiedAtMs: number;
}
interface DirectoryNode {
  readonly kind: "directory";
  modifiedAtMs: number;
}

/**
 * Files in memory with the semantics of the host's: sparse, parents must exist, a removed file stays readable through
 * handles opened before. Everything is durable at once; losing what was not synced is the simulator's part.
 */
export function memoryFileSystem(options: MemoryFileSystemOptions = {}): FileSystem {
  let changes = 0;
  const nowMs = options.nowMs ?? (() => changes);
  const capacityBytes = options.capacityBytes ?? 1024 * GIB;
  const nodes = new Map<string, Node>([["/", { kind: "directory", modifiedAtMs: 0 }]]);

  const usedBytes = (): number => {
    let sum = 0;
    for (const node of nodes.values()) if (node.kind === "file") sum += node.content.allocatedBytes;
    return sum;
  };
  const touch = (node: Node): void => {
    changes += 1;
    node.modifiedAtMs = nowMs();
  };
  const requireDirectory = (path: string): DirectoryNode => {
    const node = nodes.get(path);
    if (node === undefined) throw storageFault("STORAGE_MISSING", path, "ENOENT");
    if (node.kind !== "directory") throw storageFault("STORAGE_MISSING", path, "ENOTDIR");
    return node;
  };
  const requireFile = (path: string): FileNode => {
    const node = nodes.get(path);
    if (node === undefined) throw storageFault("STORAGE_MISSING", path, "ENOENT");
    if (node.kind !== "file") throw storageFault("STORAGE_FAILED", path, "EISDIR");
    return node;
  };
  const childrenOf = (directory: string): string[] =>
    [...nodes.keys()].filter((path) => path !== "/" && dirname(path) === directory);

  const create = (path: string): FileNode => {
    if (nodes.has(path)) throw storageFault("STORAGE_FAILED", path, "exists");
    touch(requireDirectory(dirname(path)));
    const node: FileNode = { kind: "file", content: new SparseBytes(), modifiedAtMs: nowMs() };
    nodes.set(path, node);
    return node;
  };
  /** Room is checked against the whole write, as if nothing of it were allocated: close enough for a limit. */
  const reserve = (path: string, lengthBytes: number): void => {
    if (options.capacityBytes === undefined) return;
    if (usedBytes() + lengthBytes > capacityBytes)
      throw storageFault("STORAGE_FULL", path, "ENOSPC");
  };

  return {
    open: async (rawPath, mode) => {
      const path = canonical(rawPath);
      const node = mode === "create" ? create(path) : requireFile(path);
      const changed = (lengthBytes: number): void => {
        if (mode === "read") throw storageFault("STORAGE_FAILED", path, "EBADF");
        reserve(path, lengthBytes);
        touch(node);
      };
      return memoryFile(rawPath, node.content, changed);
    },
    rename: async (rawFrom, rawTo) => {
      const [from, to] = [canonical(rawFrom), canonical(rawTo)];
      const node = nodes.get(from);
      if (node === undefined) throw storageFault("STORAGE_MISSING", to, "ENOENT");
      touch(requireDirectory(dirname(to)));
      const target = nodes.get(to);
      if (target !== undefined && target.kind !== node.kind) {
        throw storageFault("STORAGE_FAILED", to, target.kind === "file" ? "ENOTDIR" : "EISDIR");
      }
      if (node.kind === "directory" && childrenOf(to).length > 0) {
        throw storageFault("STORAGE_FAILED", to, "ENOTEMPTY");
      }
      for (const [path, moved] of [...nodes]) {
        if (path !== from && !path.startsWith(`${from}/`)) continue;
        nodes.delete(path);
        nodes.set(to + path.slice(from.length), moved);
      }
    },
    remove: async (rawPath) => {
      const path = canonical(rawPath);
      const node = nodes.get(path);
      if (node?.kind === "directory") throw storageFault("STORAGE_FAILED", path, "EISDIR");
      if (nodes.delete(path)) changes += 1;
    },
    removeDirectory: async (rawPath) => {
      const path = canonical(rawPath);
      for (const at of [...nodes.keys()]) {
        if (at === path || at.startsWith(`${path}/`)) nodes.delete(at);
      }
      changes += 1;
    },
    list: async (rawDirectory) => {
      const directory = canonical(rawDirectory);
      if (!nodes.has(directory)) return [];
      requireDirectory(directory);
      const start = directory === "/" ? 1 : directory.length + 1;
      return childrenOf(directory)
        .map((path) => path.slice(start))
        .sort();
    },
    makeDirectory: async (rawPath) => {
      const path = canonical(rawPath);
      let at = "";
      for (const part of path.split("/").slice(1)) {
        if (part === "") continue;
        at = `${at}/${part}`;
        if (nodes.has(at)) requireDirectory(at);
        else nodes.set(at, { kind: "directory", modifiedAtMs: nowMs() });
      }
    },
    syncDirectory: async (rawDirectory) => void requireDirectory(canonical(rawDirectory)),
    stat: async (rawPath) => statusOf(nodes.get(canonical(rawPath))),
    freeBytes: async (rawPath) => {
      requireDirectory(canonical(rawPath));
      return Math.max(0, capacityBytes - usedBytes());
    },
  };
}

function memoryFile(
  path: string,
  content: SparseBytes,
  changed: (lengthBytes: number) => void,
): StoredFile {
  let isOpen = true;
  const requireOpen = (): void => {
    if (!isOpen) throw storageFault("STORAGE_FAILED", path, "EBADF");
  };
  return {
    path,
    read: async (into, positionBytes) => {
      requireOpen();
      return content.read(into, positionBytes);
    },
    write: async (from, positionBytes) => {
      requireOpen();
      changed(from.length);
      content.write(from, positionBytes);
    },
    truncate: async (sizeBytes) => {
      requireOpen();
      changed(0);
      content.truncate(sizeBytes);
    },
    punch: async (positionBytes, lengthBytes) => {
      requireOpen();
      changed(0);
      content.punch(positionBytes, lengthBytes);
    },
    sync: async () => requireOpen(),
    sizeBytes: async () => {
      requireOpen();
      return content.sizeBytes;
    },
    [Symbol.asyncDispose]: async () => {
      isOpen = false;
    },
  };
}

/** Relative paths stand under the root; no "..", no doubled or trailing slashes. */
function canonical(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw storageFault("STORAGE_DENIED", path, "EACCES");
  return `/${parts.join("/")}`;
}

function statusOf(node: Node | undefined): StoredFileStatus | null {
  if (node === undefined) return null;
  const isFile = node.kind === "file";
  return {
    kind: node.kind,
    sizeBytes: isFile ? node.content.sizeBytes : 0,
    allocatedBytes: isFile ? node.content.allocatedBytes : 0,
    modifiedAtMs: node.modifiedAtMs,
  };
}

function storageFault(code: FaultCode, path: string, reason: string): Fault {
  return new Fault(code, `${path}: ${reason}`, { path, reason });
}

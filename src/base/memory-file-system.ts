import { dirname } from "node:path/posix";
import { Fault } from "./fault.ts";
import type { FaultCode } from "./fault-table.ts";
import type { FileSystem, StoredFile, StoredFileStatus } from "./file-system.ts";
import { SparseBytes } from "./sparse-bytes.ts";
import { GIB } from "./units.ts";

/** How a file system in memory is made; all parts may be left out. */
export interface MemoryFileSystemOptions {
  /** Beyond this many allocated bytes writes reject with STORAGE_FULL; unlimited when not given. */
  readonly capacityBytes?: number;
  /** Wall clock for `modifiedAtMs`; a counter of changes when not given. */
  readonly nowMs?: () => number;
}

/**
 * Files in memory with the semantics of the host's: sparse, parents must exist, a removed file stays readable through
 * handles opened before. Everything is durable at once; losing what was not synced is the simulator's part.
 */
export function memoryFileSystem(options: MemoryFileSystemOptions = {}): FileSystem {
  const tree = new MemoryTree(options);
  return {
    open: async (path, mode) => tree.open(canonical(path), mode),
    rename: async (from, to) => tree.rename(canonical(from), canonical(to)),
    remove: async (path) => tree.remove(canonical(path)),
    removeDirectory: async (path) => tree.removeDirectory(canonical(path)),
    list: async (directory) => tree.list(canonical(directory)),
    makeDirectory: async (path) => tree.makeDirectory(canonical(path)),
    syncDirectory: async (directory) => void tree.requireDirectory(canonical(directory)),
    stat: async (path) => statusOf(tree.find(canonical(path))),
    freeBytes: async (path) => tree.freeBytes(canonical(path)),
  };
}

interface FileNode {
  readonly kind: "file";
  readonly content: SparseBytes;
  modifiedAtMs: number;
}
interface DirectoryNode {
  readonly kind: "directory";
  modifiedAtMs: number;
}
type Node = FileNode | DirectoryNode;

/** Every path is absolute and canonical here. */
class MemoryTree {
  readonly #capacityBytes: number | null;
  readonly #nowMs: () => number;
  readonly #nodes = new Map<string, Node>([["/", { kind: "directory", modifiedAtMs: 0 }]]);
  #changes = 0;

  constructor(options: MemoryFileSystemOptions) {
    this.#capacityBytes = options.capacityBytes ?? null;
    this.#nowMs = options.nowMs ?? (() => this.#changes);
  }

  find(path: string): Node | undefined {
    return this.#nodes.get(path);
  }

  requireDirectory(path: string): DirectoryNode {
    const node = this.#nodes.get(path);
    if (node === undefined) throw storageFault("STORAGE_MISSING", path, "ENOENT");
    if (node.kind !== "directory") throw storageFault("STORAGE_MISSING", path, "ENOTDIR");
    return node;
  }

  open(path: string, mode: "read" | "create" | "write"): StoredFile {
    const node = mode === "create" ? this.#create(path) : this.#requireFile(path);
    return memoryFile(path, node.content, (lengthBytes) => {
      if (mode === "read") throw storageFault("STORAGE_FAILED", path, "EBADF");
      this.#reserve(path, lengthBytes);
      this.#touch(node);
    });
  }

  rename(from: string, to: string): void {
    const node = this.#nodes.get(from);
    if (node === undefined) throw storageFault("STORAGE_MISSING", to, "ENOENT");
    this.#touch(this.requireDirectory(dirname(to)));
    const target = this.#nodes.get(to);
    if (target !== undefined && target.kind !== node.kind) {
      throw storageFault("STORAGE_FAILED", to, target.kind === "file" ? "ENOTDIR" : "EISDIR");
    }
    if (node.kind === "directory" && this.#childrenOf(to).length > 0) {
      throw storageFault("STORAGE_FAILED", to, "ENOTEMPTY");
    }
    for (const [path, moved] of [...this.#nodes]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#nodes.delete(path);
      this.#nodes.set(to + path.slice(from.length), moved);
    }
  }

  remove(path: string): void {
    const node = this.#nodes.get(path);
    if (node?.kind === "directory") throw storageFault("STORAGE_FAILED", path, "EISDIR");
    if (this.#nodes.delete(path)) this.#changes += 1;
  }

  removeDirectory(path: string): void {
    for (const at of [...this.#nodes.keys()]) {
      if (at === path || at.startsWith(`${path}/`)) this.#nodes.delete(at);
    }
    this.#changes += 1;
  }

  list(directory: string): readonly string[] {
    if (!this.#nodes.has(directory)) return [];
    this.requireDirectory(directory);
    const start = directory === "/" ? 1 : directory.length + 1;
    return this.#childrenOf(directory)
      .map((path) => path.slice(start))
      .sort();
  }

  makeDirectory(path: string): void {
    let at = "";
    for (const part of path.split("/").filter((name) => name !== "")) {
      at = `${at}/${part}`;
      if (this.#nodes.has(at)) this.requireDirectory(at);
      else this.#nodes.set(at, { kind: "directory", modifiedAtMs: this.#nowMs() });
    }
  }

  freeBytes(path: string): number {
    this.requireDirectory(path);
    return Math.max(0, (this.#capacityBytes ?? 1024 * GIB) - this.#usedBytes());
  }

  #create(path: string): FileNode {
    if (this.#nodes.has(path)) throw storageFault("STORAGE_FAILED", path, "exists");
    this.#touch(this.requireDirectory(dirname(path)));
    const modifiedAtMs = this.#nowMs();
    const node: FileNode = { kind: "file", content: new SparseBytes(), modifiedAtMs };
    this.#nodes.set(path, node);
    return node;
  }

  #requireFile(path: string): FileNode {
    const node = this.#nodes.get(path);
    if (node === undefined) throw storageFault("STORAGE_MISSING", path, "ENOENT");
    if (node.kind !== "file") throw storageFault("STORAGE_FAILED", path, "EISDIR");
    return node;
  }

  /** Room is checked as if nothing beneath the write were allocated: close enough for a limit. */
  #reserve(path: string, lengthBytes: number): void {
    if (this.#capacityBytes === null || lengthBytes === 0) return;
    if (this.#usedBytes() + lengthBytes <= this.#capacityBytes) return;
    throw storageFault("STORAGE_FULL", path, "ENOSPC");
  }

  #usedBytes(): number {
    let sum = 0;
    for (const node of this.#nodes.values()) {
      if (node.kind === "file") sum += node.content.allocatedBytes;
    }
    return sum;
  }

  #childrenOf(directory: string): string[] {
    return [...this.#nodes.keys()].filter((path) => path !== "/" && dirname(path) === directory);
  }

  #touch(node: Node): void {
    this.#changes += 1;
    node.modifiedAtMs = this.#nowMs();
  }
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

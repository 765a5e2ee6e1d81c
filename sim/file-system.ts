import { dirname } from "node:path/posix";
import type { Clock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import type { FaultCode } from "../src/base/fault-table.ts";
import type { FileSystem, StoredFile } from "../src/base/file-system.ts";
import { GIB } from "../src/base/units.ts";
import type { FileNode, Medium, Node } from "./medium.ts";
import { freeSteps, type Steps } from "./steps.ts";
import { StoredContent } from "./stored-content.ts";

export type FileOperation = "open" | "read" | "write" | "sync" | "sync-directory" | "names";

/**
 * What happens to a call: `full` and `failed` reject; `unanswered` rejects although it was done; `lost` resolves though nothing
 * was made durable (syncs only).
 */
export type Misfortune = "none" | "full" | "failed" | "unanswered" | "lost";

export interface SimFileSystemOptions {
  readonly medium: Medium;
  readonly clock: Clock;
  readonly steps?: Steps;
  /** Asked once per call, when it takes effect. */
  readonly strike?: (operation: FileOperation, path: string) => Misfortune;
  /** Decides what survives of a failed sync. */
  readonly failSync?: (content: StoredContent) => void;
  readonly capacityBytes?: number;
}

/** The options made whole, and the step that every call takes. */
interface Room {
  readonly medium: Medium;
  readonly clock: Clock;
  readonly capacityBytes: number;
  readonly failSync: (content: StoredContent) => void;
  readonly turn: (operation: FileOperation, label: string, path: string) => Promise<Misfortune>;
}

/** Files on a medium that forgets what was not synced; see `Medium.crash`. */
export function simFileSystem(options: SimFileSystemOptions): FileSystem {
  const { medium, clock } = options;
  const steps = options.steps ?? freeSteps;
  const strike = options.strike ?? (() => "none");
  const turn: Room["turn"] = async (operation, label, path) => {
    await steps.pass(`files.${label} ${path}`);
    const misfortune = strike(operation, path);
    if (misfortune === "failed" && operation !== "sync")
      throw storageFault("STORAGE_FAILED", path, "EIO");
    if (misfortune === "full" && operation !== "write")
      throw storageFault("STORAGE_FULL", path, "ENOSPC");
    return misfortune;
  };
  const room: Room = {
    medium,
    clock,
    turn,
    capacityBytes: options.capacityBytes ?? GIB,
    failSync: options.failSync ?? (() => {}),
  };
  return { ...fileCalls(room), ...directoryCalls(room) };
}

function fileCalls(room: Room): Pick<FileSystem, "open" | "rename" | "remove" | "stat"> {
  const { medium, clock, turn } = room;
  return {
    open: async (path, mode) => {
      const misfortune = await turn(mode === "create" ? "names" : "open", `open ${mode}`, path);
      if (mode !== "create")
        return openFile(room, path, requireFile(medium, path), mode === "write");
      if (medium.find(path)) throw storageFault("STORAGE_FAILED", path, "exists");
      requireDirectory(medium, dirname(path));
      const node: FileNode = {
        kind: "file",
        content: new StoredContent(),
        modifiedAtMs: clock.nowMs(),
      };
      medium.change([[path, node]]);
      answer(misfortune, path);
      return openFile(room, path, node, true);
    },
    rename: async (from, to) => {
      const misfortune = await turn("names", `rename ${from}`, to);
      rename(medium, from, to);
      answer(misfortune, to);
    },
    remove: async (path) => {
      const misfortune = await turn("names", "remove", path);
      const node = medium.find(path);
      if (node?.kind === "directory") throw storageFault("STORAGE_FAILED", path, "EISDIR");
      if (node) medium.change([[path, null]]);
      answer(misfortune, path);
    },
    stat: async (path) => {
      await turn("open", "stat", path);
      return statusOf(medium.find(path));
    },
  };
}

function directoryCalls({
  medium,
  clock,
  turn,
  capacityBytes,
}: Room): Omit<FileSystem, "open" | "rename" | "remove" | "stat"> {
  return {
    removeDirectory: async (path) => {
      for (const at of [...medium.treeOf(path)].reverse()) {
        await turn("names", "remove", at);
        if (medium.find(at)) medium.change([[at, null]]);
      }
    },
    list: async (directory) => {
      await turn("open", "list", directory);
      if (!medium.find(directory)) return [];
      requireDirectory(medium, directory);
      return medium.childrenOf(directory).map((path) => path.slice(path.lastIndexOf("/") + 1));
    },
    makeDirectory: async (path) => {
      await turn("names", "make", path);
      let at = "";
      for (const part of path.split("/").filter((name) => name !== "")) {
        at = `${at}/${part}`;
        if (medium.find(at)) requireDirectory(medium, at);
        else medium.change([[at, { kind: "directory", modifiedAtMs: clock.nowMs() }]]);
      }
    },
    syncDirectory: async (directory) => {
      const misfortune = await turn("sync-directory", "sync-directory", directory);
      requireDirectory(medium, directory);
      if (misfortune !== "lost") medium.syncDirectory(directory);
      answer(misfortune, directory);
    },
    freeBytes: async (path) => {
      await turn("open", "free", path);
      requireDirectory(medium, path);
      return Math.max(0, capacityBytes - medium.usedBytes());
    },
  };
}

function openFile(
  { medium, clock, turn, capacityBytes, failSync }: Room,
  path: string,
  node: FileNode,
  isWritable: boolean,
): StoredFile {
  const { content } = node;
  let isOpen = true;
  const begin = async (operation: FileOperation, label: string): Promise<Misfortune> => {
    const misfortune = await turn(operation, label, path);
    if (!isOpen || (operation === "write" && !isWritable))
      throw storageFault("STORAGE_FAILED", path, "EBADF");
    if (operation === "write") node.modifiedAtMs = clock.nowMs();
    return misfortune;
  };
  return {
    path,
    read: async (into, positionBytes) => {
      await begin("read", `read ${positionBytes}+${into.length}`);
      return content.read(into, positionBytes);
    },
    write: async (from, positionBytes) => {
      const misfortune = await begin("write", `write ${positionBytes}+${from.length}`);
      const isFull = misfortune === "full" || medium.usedBytes() + from.length > capacityBytes;
      // What fitted before the room ran out was written.
      content.write(isFull ? from.subarray(0, from.length / 2) : from, positionBytes);
      if (isFull) throw storageFault("STORAGE_FULL", path, "ENOSPC");
      answer(misfortune, path);
    },
    truncate: async (sizeBytes) => {
      if ((await begin("write", `truncate ${sizeBytes}`)) === "full")
        throw storageFault("STORAGE_FULL", path, "ENOSPC");
      content.truncate(sizeBytes);
    },
    punch: async (positionBytes, lengthBytes) => {
      await begin("write", `punch ${positionBytes}+${lengthBytes}`);
      content.punch(positionBytes, lengthBytes);
    },
    sync: async () => {
      const misfortune = await begin("sync", "sync");
      if (misfortune === "failed") {
        failSync(content);
        throw storageFault("STORAGE_FAILED", path, "EIO");
      }
      if (misfortune !== "lost") content.sync();
      answer(misfortune, path);
    },
    sizeBytes: async () => {
      await begin("read", "size");
      return content.sizeBytes;
    },
    [Symbol.asyncDispose]: async () => {
      isOpen = false;
    },
  };
}

/** What was done, and nobody is told. */
function answer(misfortune: Misfortune, path: string): void {
  if (misfortune === "unanswered") throw storageFault("STORAGE_FAILED", path, "EIO");
}

function rename(medium: Medium, from: string, to: string): void {
  if (!medium.find(from)) throw storageFault("STORAGE_MISSING", to, "ENOENT");
  requireDirectory(medium, dirname(to));
  const moved: [string, Node | null][] = [];
  for (const path of medium.treeOf(from)) {
    moved.push([path, null], [to + path.slice(from.length), medium.find(path) ?? null]);
  }
  medium.change(moved);
}

function requireFile(medium: Medium, path: string): FileNode {
  const node = medium.find(path);
  if (node === undefined) throw storageFault("STORAGE_MISSING", path, "ENOENT");
  if (node.kind !== "file") throw storageFault("STORAGE_FAILED", path, "EISDIR");
  return node;
}

function requireDirectory(medium: Medium, path: string): void {
  const node = medium.find(path);
  if (node?.kind !== "directory") {
    throw storageFault("STORAGE_MISSING", path, node ? "ENOTDIR" : "ENOENT");
  }
}

function statusOf(node: Node | undefined) {
  if (node === undefined) return null;
  const content = node.kind === "file" ? node.content : null;
  return {
    kind: node.kind,
    sizeBytes: content?.sizeBytes ?? 0,
    allocatedBytes: content?.allocatedBytes ?? 0,
    modifiedAtMs: node.modifiedAtMs,
  };
}

function storageFault(code: FaultCode, path: string, reason: string): Fault {
  return new Fault(code, `${path}: ${reason}`, { path, reason });
}

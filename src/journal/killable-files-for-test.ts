import { Fault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";

/** Counts what changes files; from a chosen change on nothing happens any more, as after a kill or on a full medium. */
export class KillableFiles {
  /** Changes so far. */
  changes = 0;
  /** The first change that does not happen; null: all do. */
  killAt: number | null = null;
  /** How a change fails: everything from then on, or only those that take room. */
  mode: "killed" | "full" = "killed";
  /** So many reads from now on fail, and those behind them do not. */
  readsToFail = 0;

  wrap(files: FileSystem): FileSystem {
    const change = <Value>(work: () => Promise<Value>, takesRoom: boolean): Promise<Value> => {
      this.changes += 1;
      const isOver = this.killAt !== null && this.changes >= this.killAt;
      if (isOver && (this.mode === "killed" || takesRoom)) return Promise.reject(this.#fault());
      return work();
    };
    return {
      ...files,
      open: async (path, mode) => {
        if (mode === "create") {
          return this.#wrapFile(await change(() => files.open(path, mode), true), change);
        }
        return this.#wrapFile(await files.open(path, mode), change);
      },
      rename: (from, to) => change(() => files.rename(from, to), false),
      remove: (path) => change(() => files.remove(path), false),
      removeDirectory: (path) => change(() => files.removeDirectory(path), false),
      makeDirectory: (path) => change(() => files.makeDirectory(path), false),
      syncDirectory: (path) => change(() => files.syncDirectory(path), false),
    };
  }

  #wrapFile(
    file: StoredFile,
    change: <Value>(work: () => Promise<Value>, takesRoom: boolean) => Promise<Value>,
  ): StoredFile {
    return {
      path: file.path,
      read: async (into, positionBytes) => {
        if (this.readsToFail > 0) {
          this.readsToFail -= 1;
          throw new Fault("STORAGE_FAILED", "injected: EIO", { path: file.path });
        }
        return file.read(into, positionBytes);
      },
      write: (from, positionBytes) => change(() => file.write(from, positionBytes), true),
      truncate: (sizeBytes) => change(() => file.truncate(sizeBytes), false),
      punch: (positionBytes, lengthBytes) =>
        change(() => file.punch(positionBytes, lengthBytes), false),
      sync: () => change(() => file.sync(), false),
      sizeBytes: () => file.sizeBytes(),
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    };
  }

  #fault(): Fault {
    const code = this.mode === "killed" ? "STORAGE_FAILED" : "STORAGE_FULL";
    return new Fault(code, `injected: ${this.mode}`, { reason: this.mode });
  }
}

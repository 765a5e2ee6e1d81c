import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { VaultLocks } from "./vault-locks.ts";

/** Locks in memory, for several processes that live in one: the simulator and the fast tests. */
export class MemoryLockTable {
  readonly #files: FileSystem;
  readonly #holders = new Map<string, object>();

  constructor(files: FileSystem) {
    this.#files = files;
  }

  /** The locks as one process sees them; `kill` releases what it holds, as the kernel would. */
  process(): { readonly locks: VaultLocks; readonly kill: () => void } {
    const identity = {};
    const release = (path: string) => {
      if (this.#holders.get(path) === identity) this.#holders.delete(path);
    };
    const take = async (path: string) => {
      if ((await this.#files.stat(path)) === null) {
        throw new Fault("STORAGE_MISSING", `${path}: no such lock`, { path });
      }
      if (this.#holders.has(path)) return null;
      this.#holders.set(path, identity);
      return { path, [Symbol.asyncDispose]: async () => release(path) };
    };
    const kill = () => [...this.#holders.keys()].forEach(release);
    return { locks: { take }, kill };
  }
}

import { join } from "node:path";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import type { PointId } from "../core/ids.ts";
import { parsePointId } from "../core/ids.ts";
import type { HeldLock, VaultLocks } from "./vault-locks.ts";

/** How often a pin is made anew because a writer took it for a dead one's while it was being made. */
const pinAttemptsMax = 16;
const pinPattern = /^([0-9a-f]{16})-[0-9a-f]{16}\.pin$/;

/**
 * A pin says "somebody reads this point". It is a file named after the point with a lock on it; one whose lock is free belongs
 * to nobody alive. Who reads pins first and looks at the ledger then; who retires writes the ledger first and looks at the
 * pins then: whichever order the two run in, at least one of them sees the other.
 */
export class Pins {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #locks: VaultLocks;
  readonly #prng: Prng;

  constructor(options: { files: FileSystem; directory: string; locks: VaultLocks; prng: Prng }) {
    this.#files = options.files;
    this.#directory = options.directory;
    this.#locks = options.locks;
    this.#prng = options.prng;
  }

  /** Pins a point; disposing unpins it. */
  async pin(point: PointId): Promise<AsyncDisposable> {
    for (let attempt = 0; attempt < pinAttemptsMax; attempt += 1) {
      const path = join(this.#directory, `${point}-${randomHex(this.#prng, 8)}.pin`);
      {
        await using _made = await this.#files.open(path, "create");
      }
      const lock = await this.#takeOwn(path);
      if (lock !== null) return { [Symbol.asyncDispose]: () => this.#unpin(lock) };
    }
    const message = `${this.#directory}: no pin could be made in ${pinAttemptsMax} attempts`;
    throw new Fault("VAULT_BUSY", message, { path: this.#directory });
  }

  /** The points that somebody alive reads; what dead readers left is removed. */
  async pinned(): Promise<ReadonlySet<PointId>> {
    const points = new Set<PointId>();
    for (const name of await this.#files.list(this.#directory)) {
      const point = parsePointId(pinPattern.exec(name)?.[1] ?? "");
      if (point === null) continue;
      if (await this.#isHeld(join(this.#directory, name))) points.add(point);
    }
    return points;
  }

  /** Null when a writer took the file for a dead reader's before it was locked, and removed it. */
  async #takeOwn(path: string): Promise<HeldLock | null> {
    const lock = await this.#take(path);
    if (lock === null) return null;
    // Removing needs the lock, so a pin that is there while we hold it stays.
    if ((await this.#files.stat(path)) !== null) return lock;
    await lock[Symbol.asyncDispose]();
    return null;
  }

  async #isHeld(path: string): Promise<boolean> {
    const lock = await this.#take(path);
    if (lock === null) return (await this.#files.stat(path)) !== null;
    try {
      await this.#files.remove(path);
    } finally {
      await lock[Symbol.asyncDispose]();
    }
    return false;
  }

  async #take(path: string): Promise<HeldLock | null> {
    try {
      return await this.#locks.take(path);
    } catch (error) {
      // Gone between the listing and now: its reader ended. Anything else leaves the pin standing.
      if ((await this.#files.stat(path)) === null) return null;
      throw error;
    }
  }

  async #unpin(lock: HeldLock): Promise<void> {
    try {
      await this.#files.remove(lock.path);
    } finally {
      await lock[Symbol.asyncDispose]();
    }
  }
}

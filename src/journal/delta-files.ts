import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { HashHex } from "../core/ids.ts";
import { type DeltaReader, openDelta } from "../delta/reader.ts";

/** A delta file as the ledger knows it. */
export interface DeltaFile {
  readonly path: string;
  readonly contentRoot: HashHex;
}

/** Files that are kept open although nobody reads them just now. */
const idleFilesMax = 64;
/** Their indices together. */
const idleIndexBytesMax = 32 * MIB;

interface OpenFile {
  readonly opening: Promise<DeltaReader>;
  users: number;
  indexBytes: number;
}

/**
 * Delta files that are opened when they are first read, checked against the ledger's content root, and closed when others were
 * used more lately. At most `idleFilesMax` idle ones stay open; those being read are as many as there are reads under way.
 */
export class DeltaFiles implements AsyncDisposable {
  readonly #files: FileSystem;
  readonly #open = new Map<string, OpenFile>();
  /** Of the indices of all open files. */
  #indexBytes = 0;

  constructor(files: FileSystem) {
    this.#files = files;
  }

  /** Runs `work` with the open file; it stays open until `work` has ended. DELTA_MISSING, DELTA_CORRUPT, DELTA_VERSION. */
  async use<Value>(file: DeltaFile, work: (reader: DeltaReader) => Promise<Value>): Promise<Value> {
    const open = this.#acquire(file);
    try {
      const reader = await open.opening;
      if (open.indexBytes === 0) {
        open.indexBytes = reader.index.logicalTable.length + reader.index.placementTable.length;
        this.#indexBytes += open.indexBytes;
      }
      return await work(reader);
    } finally {
      open.users -= 1;
      const isMuch = this.#open.size > idleFilesMax || this.#indexBytes > idleIndexBytesMax;
      if (isMuch) await this.#closeIdle();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(all.map((open) => close(open)));
  }

  #acquire(file: DeltaFile): OpenFile {
    const known = this.#open.get(file.path);
    this.#open.delete(file.path);
    const open = known ?? {
      opening: openSealed(this.#files, file),
      users: 0,
      indexBytes: 0,
    };
    if (known === undefined) {
      // A failure is not kept: the next read asks the medium again.
      open.opening.catch(() => this.#forget(file.path, open));
    }
    open.users += 1;
    this.#open.set(file.path, open); // Last used is last in the map.
    return open;
  }

  #forget(path: string, open: OpenFile): void {
    if (this.#open.get(path) === open) this.#open.delete(path);
  }

  async #closeIdle(): Promise<void> {
    let idle = 0;
    let indexBytes = 0;
    for (const [path, open] of [...this.#open].reverse()) {
      if (open.users > 0) continue;
      idle += 1;
      indexBytes += open.indexBytes;
      if (idle <= idleFilesMax && (indexBytes <= idleIndexBytesMax || idle === 1)) continue;
      this.#open.delete(path);
      this.#indexBytes -= open.indexBytes;
      await close(open);
    }
  }
}

/** Opens a delta that the ledger knows. A file that is not there is DELTA_MISSING. */
export async function openSealed(files: FileSystem, file: DeltaFile): Promise<DeltaReader> {
  const { path, contentRoot } = file;
  try {
    return await openDelta({ files, path, expected: { contentRoot } });
  } catch (error) {
    if (!isFault(error, "STORAGE_MISSING")) throw error;
    throw new Fault("DELTA_MISSING", `${path}: the delta is not there`, { path }, { cause: error });
  }
}

async function close(open: OpenFile): Promise<void> {
  const reader = await open.opening.catch(() => null); // Whoever opened it was told.
  await reader?.[Symbol.asyncDispose]();
}

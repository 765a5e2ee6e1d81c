import { join } from "node:path";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { HashHex } from "../core/ids.ts";
import type { MachineDescription } from "../core/point.ts";
import { sha256 } from "../format/bytes.ts";
import { encodeCanonicalJson } from "../format/canonical-json.ts";

/** As many as a header can hold. */
const machinesLengthBytesMax = 4 * MIB;

/**
 * Machine descriptions by the hash that ledger records name them by: they outlive the delta whose header brought them,
 * because the point at which the base stands has no delta any more.
 */
export class MachinesStore {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #known = new Map<HashHex, readonly MachineDescription[]>();

  constructor(files: FileSystem, directory: string) {
    this.#files = files;
    this.#directory = directory;
  }

  /** Keeps the descriptions, durable when it resolves, and returns their hash. */
  async keep(machines: readonly MachineDescription[]): Promise<HashHex> {
    const bytes = encodeCanonicalJson(machines);
    const hash = sha256(bytes).toString("hex") as HashHex;
    if (this.#known.has(hash)) return hash;
    const path = this.#pathOf(hash);
    if ((await this.#files.stat(path)) === null)
      await writeFileAtomically(this.#files, path, bytes);
    this.#known.set(hash, machines);
    return hash;
  }

  /** Reads those of `hashes` that are not known yet; returns the hashes under which nothing whole lies. */
  async load(hashes: Iterable<HashHex>): Promise<readonly HashHex[]> {
    const missing: HashHex[] = [];
    for (const hash of new Set(hashes)) {
      if (this.#known.has(hash)) continue;
      const bytes = await readSmallFile(this.#files, this.#pathOf(hash), machinesLengthBytesMax);
      if (bytes !== null && sha256(bytes).toString("hex") === hash) {
        this.#known.set(hash, JSON.parse(Buffer.from(bytes).toString("utf8")));
      } else missing.push(hash);
    }
    return missing;
  }

  /** What was loaded or kept under the hash; nothing when it is missing. */
  get(hash: HashHex): readonly MachineDescription[] {
    return this.#known.get(hash) ?? [];
  }

  /** Removes descriptions that no open point names. */
  async dropAllBut(hashes: ReadonlySet<HashHex>): Promise<void> {
    for (const name of await this.#files.list(this.#directory)) {
      const hash = name.slice(0, -".json".length) as HashHex;
      if (name.endsWith(".json") && !hashes.has(hash)) {
        await this.#files.remove(join(this.#directory, name));
        this.#known.delete(hash);
      }
    }
  }

  #pathOf(hash: HashHex): string {
    return join(this.#directory, `${hash}.json`);
  }
}

import { dirname, join } from "node:path";
import type { GroupName } from "../../core/ids.ts";
import { openSpoolGroup, type SpoolGroup } from "./spool-group.ts";
import type { SpoolOptions } from "./spool-options.ts";
import { SpoolRoom } from "./spool-room.ts";

export type { SpoolOptions } from "./spool-options.ts";

/** A replicator's spool: a folder for each group, one cap over all. */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #room: SpoolRoom;

  /** Use `openSpool`. */
  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#room = new SpoolRoom(options);
  }

  /** Of all groups that were opened. */
  get usedBytes(): number {
    return this.#room.usedBytes;
  }

  get capBytes(): number {
    return this.#room.capBytes;
  }

  /** Opens a group's folder: what its state does not know is removed, what it knows and is not whole is dropped. STORAGE_*. */
  openGroup(name: GroupName): Promise<SpoolGroup> {
    const { files, directory } = this.#options;
    return openSpoolGroup({ files, directory: join(directory, name), room: this.#room });
  }
}

/** Opens a replicator's spool, making its directory. STORAGE_*. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  await options.files.makeDirectory(options.directory, { isPrivate: true });
  await options.files.syncDirectory(dirname(options.directory));
  return new Spool(options);
}

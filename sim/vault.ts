import type { Clock } from "../src/base/clock.ts";
import type { FileSystem } from "../src/base/file-system.ts";
import type { Prng } from "../src/base/prng.ts";
import type { GroupName, PointId } from "../src/core/ids.ts";
import type { View } from "../src/core/journal.ts";
import type { DirectoryJournal } from "../src/journal/directory-journal.ts";
import type { VaultLocks } from "../src/journal/vault-locks.ts";
import type { Oracle } from "./oracle.ts";
import type { Swarm } from "./swarm.ts";

/** What one process of ours is given to open the vault with. */
export interface VaultRoom {
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly prng: Prng;
  /** The world's decisions. */
  readonly dice: Prng;
  readonly group: GroupName;
  readonly swarm: { readonly vault: Pick<Swarm["vault"], "codec" | "pointsMax"> };
  readonly oracle: Oracle;
  readonly locks: (locks: VaultLocks) => VaultLocks;
  readonly tell: (event: string) => void;
}

/** The vault as one process has it open. */
export interface OpenVault extends AsyncDisposable {
  readonly journal: DirectoryJournal;
  /** Opens a point as this process does, or as another beside it would, as drawn. */
  openView(point: PointId): Promise<View>;
  /** Hashes everything, and says which points that leaves good. */
  verify(): Promise<{ readonly good: readonly PointId[]; readonly lost: readonly PointId[] }>;
  /** One piece of upkeep: thins or moves the base, as drawn. Faults are the caller's to bear. */
  upkeep(): Promise<void>;
}

/** The vault of a world: `open` once per life; `kill` is what the kernel does when the process dies. */
export interface VaultUnderTest {
  open(room: VaultRoom): Promise<OpenVault>;
  kill(): void;
}

import type { FileSystem } from "../src/base/file-system.ts";
import type { GroupName } from "../src/core/ids.ts";
import type { Source } from "../src/core/source.ts";
import type { VaultLocks } from "../src/journal/vault-locks.ts";
import type { Estate } from "./estate.ts";
import type { OpenVault } from "./vault.ts";

/** Where the mutants of the simulator's own test get in: wrappers around ports, each by default the port itself. */
export interface WorldSeams {
  readonly source: (source: Source) => Source;
  readonly files: (files: FileSystem) => FileSystem;
  readonly locks: (locks: VaultLocks) => VaultLocks;
  readonly vault: (vault: OpenVault) => OpenVault;
}

/** Made once per world. */
export type MakeSeams = (world: { estate: Estate; group: GroupName }) => Partial<WorldSeams>;

export const noSeams: WorldSeams = {
  source: (source) => source,
  files: (files) => files,
  locks: (locks) => locks,
  vault: (vault) => vault,
};

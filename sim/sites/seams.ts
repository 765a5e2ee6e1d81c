import type { FileSystem } from "../../src/base/file-system.ts";
import type { GroupName } from "../../src/core/ids.ts";
import type { JournalIntake } from "../../src/core/journal.ts";
import type { Source } from "../../src/core/source.ts";
import type { SpooledIntake } from "../../src/engine/spool/spooled-intake-options.ts";
import type { Estate } from "../estate.ts";
import type { OpenVault } from "../vault.ts";

/** Where the mutants of the simulator's own test get in: wrappers around ports, each by default the port itself. */
export interface SitesSeams {
  readonly source: (source: Source) => Source;
  readonly spoolFiles: (files: FileSystem) => FileSystem;
  readonly vaultFiles: (files: FileSystem) => FileSystem;
  readonly vault: (vault: OpenVault) => OpenVault;
  /** What the vault's end of the link hands requests to. */
  readonly vaultIntake: (intake: JournalIntake) => JournalIntake;
  /** What the spool ships to. */
  readonly link: (intake: JournalIntake) => JournalIntake;
  /** What the engine cuts into. */
  readonly intake: (intake: SpooledIntake) => SpooledIntake;
  /** Alters classes for as long as the world lasts; returns what puts them right again. */
  readonly patch: () => () => void;
}

/** Made once per world. */
export type MakeSitesSeams = (world: {
  estate: Estate;
  group: GroupName;
  /** By the clock of the replicator's site. */
  nowMs: () => number;
}) => Partial<SitesSeams>;

export const noSitesSeams: SitesSeams = {
  source: (source) => source,
  spoolFiles: (files) => files,
  vaultFiles: (files) => files,
  vault: (vault) => vault,
  vaultIntake: (intake) => intake,
  link: (intake) => intake,
  intake: (intake) => intake,
  patch: () => () => {},
};

import type { Clock } from "../../base/clock.ts";
import type { DiskName, GroupName } from "../../core/ids.ts";
import type { JournalIntake } from "../../core/journal.ts";
import type { LinkHealth } from "../../core/link.ts";
import type { CycleIntake } from "../cycle-intake.ts";
import type { Spool } from "./spool.ts";
import type { SpoolEvent, SpoolStatus } from "./spool-events.ts";

/** What an intake with a spool is made of. */
export interface SpooledIntakeOptions {
  readonly spool: Spool;
  /** `holder`: the only one whose generations may be shipped; 16 hex digits. */
  readonly group: { readonly name: GroupName; readonly holder: string };
  /** The vault's journal across the link; stays the caller's, and outlives this. */
  readonly link: JournalIntake;
  readonly health: () => LinkHealth;
  /** How a disk's chunks are stored in the spool, and so shipped from it; asked for each point. */
  readonly codecOf: (disk: DiskName) => "raw" | "zstd";
  readonly clock: Clock;
  readonly onEvent?: (event: SpoolEvent) => void;
}

/**
 * The vault across a link, with a local spool before it: points go on being cut while the vault is away. `run` ships what waits;
 * without it nothing leaves the spool.
 */
export interface SpooledIntake extends CycleIntake {
  /**
   * Ships in order, in the background, until the signal; then it resolves with nothing half done. Faults of the link are borne for
   * ever. While another holds the group nothing is shipped (told as `shipping-stopped`), until `ask` hears that it is ours. Rejects
   * only with our own bugs.
   */
  run(options: { readonly signal: AbortSignal }): Promise<void>;
  status(): SpoolStatus;
}

import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../base/file-system.ts";

/** What a spool takes; one for each replicator, all its groups together. */
export interface SpoolOptions {
  readonly files: FileSystem;
  /** A folder for each group is made beneath it. Nobody else's; the caller holds its lock. */
  readonly directory: string;
  /** Of all groups' delta files together. */
  readonly capBytes: number;
  /** What stays free on the medium whatever the cap says. */
  readonly reserveBytes: number;
  readonly clock: Clock;
}

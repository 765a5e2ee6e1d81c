import type { Clock } from "../src/base/clock.ts";
import type { FileSystem } from "../src/base/file-system.ts";
import type { GroupName, MachineName } from "../src/core/ids.ts";
import type { Stage } from "./stage.ts";

/** What all parts of the demo work with. */
export interface Scene {
  readonly clock: Clock;
  readonly files: FileSystem;
  /** Aborts when a person interrupts the demo. */
  readonly signal: AbortSignal;
  readonly stage: Stage;
  /** Everything the demo makes lies here; gone at the end. */
  readonly directory: string;
  readonly vault: string;
  readonly group: GroupName;
  readonly machine: MachineName;
  /** Vault and replicator as processes of their own, with a link between them. */
  readonly hasTwoSites: boolean;
}

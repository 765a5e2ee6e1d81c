import type { Fault } from "../base/fault.ts";
import type { DiskName, GroupName } from "../core/ids.ts";
import type { CycleReport } from "./cycle-report.ts";
import type { SyncProgress } from "./sync-progress.ts";

/** Where a running group is; the diagram stands in run.ts. */
export type EngineState =
  | "starting"
  | "syncing"
  | "replicating"
  | "retrying"
  | "stopping"
  | "stopped";

/** How a disk goes on after an attach. */
export interface AttachedDisk {
  readonly name: DiskName;
  readonly state: "tracked" | "initial-sync" | "resync";
  /** Why it is read whole; null when it is not. */
  readonly cause: string | null;
}

/** What a running group tells; every event bears its group. */
export type EngineEvent = { readonly group: GroupName } & (
  | { readonly type: "state"; readonly state: EngineState; readonly previous: EngineState | null }
  | {
      readonly type: "attached";
      readonly disks: readonly AttachedDisk[];
      /** Found of an earlier life of ours and removed, one sentence each. */
      readonly removed: readonly string[];
    }
  | { readonly type: "sync"; readonly progress: SyncProgress }
  | { readonly type: "cycle"; readonly report: CycleReport }
  /** A cycle took longer than the interval: so many starts were left out. */
  | { readonly type: "late"; readonly skipped: number }
  | {
      readonly type: "retrying";
      readonly fault: Fault;
      /** Counts from 1; starts anew after a sealed point. */
      readonly attempt: number;
      readonly delaySeconds: number;
      /** Age of the newest point, from the lower bound of its instant; null before the first. */
      readonly lagSeconds: number | null;
    }
  /** What the vault does in the background (retention, thinning, moving the base) failed; replication goes on. */
  | { readonly type: "maintenance-failed"; readonly fault: Fault }
);

type WithoutGroup<Event> = Event extends unknown ? Omit<Event, "group"> : never;
/** An event before it is told whose it is. */
export type GroupEvent = WithoutGroup<EngineEvent>;

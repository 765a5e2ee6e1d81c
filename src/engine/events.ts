import type { Fault } from "../base/fault.ts";
import type { DiskName, GroupName, MachineName, PointId } from "../core/ids.ts";
import type { CycleReport } from "./cycle-report.ts";
import type { SpoolEvent } from "./spool/spool-events.ts";
import type { SyncProgress } from "./sync-progress.ts";

/** Where a running group is; the diagram stands in run.ts. */
export type EngineState =
  | "starting"
  | "syncing"
  /** A sync cannot go on before the vault can be reached; nothing is lost meanwhile. */
  | "waiting-for-link"
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
  /** Nothing had changed since the head at `atMs`, on the wall clock; the vault was told, and no point was needed. */
  | { readonly type: "current"; readonly point: PointId; readonly atMs: number }
  /** The interval changed; `reason` is a sentence. */
  | { readonly type: "interval"; readonly waitSeconds: number; readonly reason: string }
  /** The way to the vault failed under a point, which was read again into the spool. */
  | { readonly type: "diverted"; readonly fault: Fault }
  /** A sync waits for its window of time; until when, on the wall clock. Null: it goes on. */
  | { readonly type: "sync-window"; readonly closedUntilMs: number | null }
  /** The sites' clocks differ by more than they should, or do so no longer. */
  | {
      readonly type: "clock-skew";
      readonly isWithinBound: boolean;
      readonly offsetMs: number;
      readonly errorMs: number;
      readonly offsetMaxMs: number;
    }
  /** Another holds a later generation of the group; `paused` are the machines that were paused for it. */
  | { readonly type: "stale"; readonly fault: Fault; readonly paused: readonly MachineName[] }
  | SpoolEvent
  | {
      readonly type: "retrying";
      readonly fault: Fault;
      /** Counts from 1; starts anew after a sealed point. */
      readonly attempt: number;
      readonly delaySeconds: number;
      /** Age of the newest point that the vault acknowledged, from the lower bound of its instant; null before the first. */
      readonly lagSeconds: number | null;
    }
  /** What the vault does in the background (retention, thinning, moving the base) failed; replication goes on. */
  | { readonly type: "maintenance-failed"; readonly fault: Fault }
);

type WithoutGroup<Event> = Event extends unknown ? Omit<Event, "group"> : never;
/** An event before it is told whose it is. */
export type GroupEvent = WithoutGroup<EngineEvent>;

import type { Clock } from "../base/clock.ts";
import type { Fault } from "../base/fault.ts";
import type { Prng } from "../base/prng.ts";
import type { Journal } from "../core/journal.ts";
import type { Source } from "../core/source.ts";
import { attach } from "./attach.ts";
import { type CycleGroup, type CycleOutcome, replicateOnce } from "./cycle.ts";
import type { AttachedDisk, EngineEvent, EngineState, GroupEvent } from "./events.ts";
import { faultOf } from "./fault-of.ts";
import { nextStart } from "./interval.ts";
import { Maintenance } from "./maintenance.ts";
import type { PhaseHook } from "./phase.ts";
import { isWorthRetrying, retryDelayMs } from "./retry-delay.ts";
import { type DiskStanding, type GroupStanding, isReadyToCut } from "./standing.ts";
import { syncGroup } from "./sync.ts";

//              all tracked
//          ┌─────────────────┐
//          │                 ▼
//   ──▶ starting ─▶ syncing ─▶ replicating ──┐ one cycle each interval
//          ▲  │        │          │  ▲       │
//          │  │        │          │  └───────┘
//          │  └────────┼──────────┘
//          │           │ fault that may pass, or that attaching cures
//          └─ retrying ◀ (waits, longer each time)
//
//   from everywhere: enough points, or the signal ─▶ stopping ─▶ stopped; any other fault ─▶ stopped, and it is thrown

/** What a run takes; bounds and intervals are positive. */
export interface RunOptions {
  readonly source: Source;
  readonly journal: Journal;
  readonly group: CycleGroup;
  /** From the start of one cycle to the start of the next. */
  readonly intervalSeconds: number;
  /** Ends after so many sealed points; null runs until the signal. */
  readonly cycles?: number | null;
  /** Faults in a row that are borne; null bears any number. */
  readonly retriesMax?: number | null;
  /** Cap on reading live disks in a sync; null reads as fast as it goes. */
  readonly syncBytesPerSecondMax?: number | null;
  /** Retention, thinning, moving the base: asked for after each seal, runs beside the cycles, one at a time. */
  readonly maintain?: (options: { signal: AbortSignal }) => Promise<unknown>;
  readonly clock: Clock;
  readonly prng: Prng;
  /** Aborting ends the run cleanly: a cycle under way is given up, nothing sealed is lost. */
  readonly signal: AbortSignal;
  readonly onEvent?: (event: EngineEvent) => void;
  /** For tests. */
  readonly onPhase?: PhaseHook;
}

/** How a run that was not ended by a fault ended. */
export interface RunSummary {
  readonly points: number;
  readonly endedBy: "cycles" | "signal";
}

/**
 * Replicates a group until told to stop. Faults that may pass are borne with growing patience; one that needs a person is
 * thrown. Whatever ends it, the next run goes on from the last sealed point.
 */
export async function runGroup(options: RunOptions): Promise<RunSummary> {
  const run = new GroupRun(options);
  return run.run();
}

class GroupRun {
  readonly #options: RunOptions;
  #state: EngineState | null = null;
  #standing: GroupStanding | null = null;
  #points = 0;
  #attempts = 0;

  constructor(options: RunOptions) {
    this.#options = options;
  }

  async run(): Promise<RunSummary> {
    const { signal, maintain } = this.#options;
    try {
      await using maintenance = new Maintenance({
        work: maintain ?? (async () => {}),
        onError: (error) => this.#tellMaintenanceFailed(error),
      });
      while (!signal.aborted && !this.#isDone()) {
        try {
          await this.#replicate(maintenance);
        } catch (error) {
          if (signal.aborted) break;
          await this.#bear(error);
        }
      }
      this.#enter("stopping");
      if (!signal.aborted) await maintenance.settled();
    } finally {
      this.#enter("stopped");
    }
    return { points: this.#points, endedBy: this.#isDone() ? "cycles" : "signal" };
  }

  /** From an attach to the first fault, or to the end. */
  async #replicate(maintenance: Maintenance): Promise<void> {
    const { clock, signal, intervalSeconds } = this.#options;
    this.#enter("starting");
    this.#standing = await this.#attach();
    if (!isReadyToCut(this.#standing)) {
      this.#enter("syncing");
      this.#standing = await this.#sync(this.#standing);
    }
    this.#enter("replicating");
    let startAtMs = clock.monotonicMs();
    for (;;) {
      const outcome = await this.#cycle(this.#standing);
      maintenance.request();
      if (this.#isDone()) return;
      // The source is to be looked at again before the next point is cut from it.
      if (outcome.forgetError !== null) throw outcome.forgetError;
      const next = nextStart(startAtMs, intervalSeconds * 1000, clock.monotonicMs());
      if (next.skipped > 0) this.#tell({ type: "late", skipped: next.skipped });
      await clock.sleep(Math.max(0, next.atMs - clock.monotonicMs()), { signal });
      startAtMs = next.atMs;
    }
  }

  async #attach(): Promise<GroupStanding> {
    const previous = this.#standing;
    const { standing, removed } = await attach({ ...this.#options, previous });
    this.#tell({ type: "attached", disks: standing.disks.map(attachedDisk), removed });
    return standing;
  }

  #sync(standing: GroupStanding): Promise<GroupStanding> {
    const { source, journal, clock, signal, onPhase, syncBytesPerSecondMax } = this.#options;
    return syncGroup(standing, {
      source,
      journal,
      clock,
      signal,
      readBytesPerSecondMax: syncBytesPerSecondMax ?? null,
      onProgress: (progress) => this.#tell({ type: "sync", progress }),
      ...(onPhase === undefined ? {} : { onPhase }),
    });
  }

  async #cycle(standing: GroupStanding): Promise<CycleOutcome> {
    const outcome = await replicateOnce({ ...this.#options, standing });
    this.#standing = outcome.standing;
    this.#points += 1;
    this.#attempts = 0;
    this.#tell({ type: "cycle", report: outcome.report });
    return outcome;
  }

  /** Waits out a fault that may pass; throws one that does not. */
  async #bear(error: unknown): Promise<void> {
    const { clock, prng, journal, signal } = this.#options;
    const retriesMax = this.#options.retriesMax ?? Number.POSITIVE_INFINITY;
    const fault: Fault | null = faultOf(error);
    this.#attempts += 1;
    if (fault === null || !isWorthRetrying(fault, this.#attempts)) throw error;
    if (this.#attempts > retriesMax) throw error;
    const delayMs = retryDelayMs(fault.code, this.#attempts, prng);
    const head = journal.head();
    this.#enter("retrying");
    this.#tell({
      type: "retrying",
      fault,
      attempt: this.#attempts,
      delaySeconds: delayMs / 1000,
      lagSeconds: head === null ? null : (clock.nowMs() - head.instant.lowerMs) / 1000,
    });
    try {
      await clock.sleep(delayMs, { signal });
    } catch (reason) {
      if (!signal.aborted) throw reason;
    }
  }

  #isDone(): boolean {
    return this.#points >= (this.#options.cycles ?? Number.POSITIVE_INFINITY);
  }

  #tellMaintenanceFailed(error: unknown): void {
    const fault = faultOf(error);
    if (fault === null) throw error;
    this.#tell({ type: "maintenance-failed", fault });
  }

  #enter(state: EngineState): void {
    if (state === this.#state) return;
    const previous = this.#state;
    this.#state = state;
    this.#tell({ type: "state", state, previous });
  }

  #tell(event: GroupEvent): void {
    this.#options.onEvent?.({ group: this.#options.group.name, ...event });
  }
}

function attachedDisk(disk: DiskStanding): AttachedDisk {
  if (disk.state === "tracked") return { name: disk.name, state: "tracked", cause: null };
  const state = disk.kind === "base" ? "initial-sync" : "resync";
  return { name: disk.name, state, cause: disk.cause };
}

import type { Fault } from "../base/fault.ts";
import { isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import type { MachineName, PointId } from "../core/ids.ts";
import { attach } from "./attach.ts";
import { ClockGuard } from "./clock-guard.ts";
import { type CycleOutcome, replicateOnce } from "./cycle.ts";
import { acknowledgedPoint } from "./cycle-intake.ts";
import { currentAsOfMs } from "./cycle-report.ts";
import type { AttachedDisk, EngineState, GroupEvent } from "./events.ts";
import { faultOf } from "./fault-of.ts";
import { wasHandedBack } from "./generation.ts";
import { fixedInterval, type IntervalPolicy, type IntervalStep } from "./interval.ts";
import { isLinkFault } from "./link-faults.ts";
import { Maintenance } from "./maintenance.ts";
import { isWorthRetrying, retryDelayMs, waitForLinkMs } from "./retry-delay.ts";
import type { RunOptions, RunSummary } from "./run-options.ts";
import { type DiskStanding, type GroupStanding, isReadyToCut } from "./standing.ts";
import { syncGroup } from "./sync.ts";
import { syncPace } from "./sync-window.ts";

export type { RunOptions, RunSummary } from "./run-options.ts";

//              all tracked
//          ┌─────────────────┐
//          │                 ▼
//   ──▶ starting ─▶ syncing ─▶ replicating ──┐ one cycle each interval, or none where nothing changed
//          ▲  │        │          │  ▲       │
//          │  │        │          │  └───────┘
//          │  └────────┼──────────┘
//          │           │ fault that may pass, or that attaching cures
//          └─ retrying ◀ (waits, longer each time)
//          └─ waiting-for-link ◀ the vault cannot be reached and there is nothing that can go on without it: asks again
//
//   from everywhere: enough points, or the signal ─▶ stopping ─▶ stopped; any other fault ─▶ stopped, and it is thrown

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
  readonly #policy: IntervalPolicy;
  readonly #clockGuard: ClockGuard;
  #state: EngineState | null = null;
  #standing: GroupStanding | null = null;
  #points = 0;
  #attempts = 0;
  /** What ended the attempt before; null after a point. */
  #failedWith: FaultCode | null = null;
  /** The point whose bitmap was kept besides the head's, as far as it was not let go yet. */
  #owedSince: PointId | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#policy = options.interval ?? fixedInterval(options.intervalSeconds);
    this.#clockGuard = new ClockGuard({
      offsetMaxMs: options.clockOffsetMaxMs ?? null,
      comparison: options.clockComparison ?? (() => null),
      onEvent: (event) => this.#tell(event),
    });
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
    this.#enter("starting");
    this.#clockGuard.requireToStart();
    this.#standing = await this.#attach();
    if (!isReadyToCut(this.#standing)) {
      this.#enter("syncing");
      this.#standing = await this.#sync(this.#standing);
    }
    this.#enter("replicating");
    let dueAtMs = this.#options.clock.monotonicMs();
    for (;;) {
      const step = await this.#cutUnlessIdle(this.#standing);
      if (step.kind === "cycle") maintenance.request();
      if (this.#isDone()) return;
      dueAtMs = await this.#untilDue(step, dueAtMs);
    }
  }

  /** Waits as the policy says, looking at what is dirty in between where it asks to; returns when the next point is due. */
  async #untilDue(ended: IntervalStep, wasDueAtMs: number): Promise<number> {
    const { clock, signal } = this.#options;
    let step = ended;
    for (;;) {
      const nowMs = clock.monotonicMs();
      const decision = this.#policy.next({ step, dueAtMs: wasDueAtMs, nowMs });
      if (decision.skipped > 0) this.#tell({ type: "late", skipped: decision.skipped });
      if (decision.reason !== null) {
        const waitSeconds = decision.waitMs / 1000;
        this.#tell({ type: "interval", waitSeconds, reason: decision.reason });
      }
      await clock.sleep(decision.waitMs, { signal });
      if (decision.action === "cut") return nowMs + decision.waitMs;
      step = { kind: "polled", dirtyBytes: await this.#dirtyBytes() };
    }
  }

  async #attach(): Promise<GroupStanding> {
    const previous = this.#standing;
    const { standing, removed, owedSince } = await attach({ ...this.#options, previous });
    this.#owedSince = owedSince;
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
      pace: syncPace({ ...this.#options, onEvent: (event) => this.#tell(event) }),
      onProgress: (progress) => this.#tell({ type: "sync", progress }),
      ...(onPhase === undefined ? {} : { onPhase }),
    });
  }

  /** A point that would hold nothing is not cut: the vault is told until when the head is what the source holds. */
  async #cutUnlessIdle(standing: GroupStanding): Promise<IntervalStep> {
    const { journal, clock } = this.#options;
    this.#clockGuard.look();
    await this.#forgetOwed(standing);
    const beforeMs = clock.nowMs();
    const dirtyBytes = await this.#dirtyBytes();
    if (dirtyBytes === 0 && this.#mayBeIdle(standing)) {
      const atMs = Math.floor(beforeMs);
      await journal.confirmCurrent({ point: standing.headId, atMs });
      this.#attempts = 0;
      this.#failedWith = null;
      this.#tell({ type: "current", point: standing.headId, atMs });
      return { kind: "current" };
    }
    const { report, forgetError } = await this.#cycle(standing, dirtyBytes);
    // The source is to be looked at again before the next point is cut from it.
    if (forgetError !== null && !this.#isDone()) throw forgetError;
    return { kind: "cycle", report };
  }

  /** Once all that waited in the spool is acknowledged, the bitmap that was kept for it has done its service. */
  async #forgetOwed({ headId, disks }: GroupStanding): Promise<void> {
    const { source, journal, signal } = this.#options;
    const owedSince = journal.owedSince();
    if (this.#owedSince === owedSince || headId === null) return;
    if (this.#owedSince !== null) {
      // A sync that the next point completes is recorded under its own name.
      const counted = disks.map((disk) => (disk.state === "tracked" ? disk.since : disk.syncId));
      const keep = [headId, ...(owedSince === null ? [] : [owedSince]), ...counted];
      await source.repair({ keep: [...new Set(keep)], signal });
    }
    this.#owedSince = owedSince;
  }

  /** Whether the head, and no earlier point, is what the standing counts from, and nothing else is to be said. */
  #mayBeIdle(standing: GroupStanding): standing is GroupStanding & { headId: PointId } {
    const { skipsIdleCycles, cycles, journal } = this.#options;
    const { headId, disks, notes } = standing;
    return (
      (skipsIdleCycles ?? (cycles ?? null) === null) &&
      headId !== null &&
      journal.head()?.id === headId &&
      notes.length === 0 &&
      disks.every((disk) => disk.state === "tracked" && disk.since === headId)
    );
  }

  async #dirtyBytes(): Promise<number | null> {
    const { source, signal } = this.#options;
    const disks = this.#standing?.disks ?? [];
    const tracked = disks.filter((disk) => disk.state === "tracked");
    if (tracked.length < disks.length) return null;
    const since = new Map(tracked.map((disk) => [disk.name, disk.since]));
    return source.dirtyBytes({ since, signal });
  }

  async #cycle(standing: GroupStanding, dirtyBytes: number | null): Promise<CycleOutcome> {
    const onDivert = (fault: Fault) => this.#tell({ type: "diverted", fault });
    const outcome = await replicateOnce({ ...this.#options, standing, dirtyBytes, onDivert });
    this.#standing = outcome.standing;
    // Told here, since what waits may have been shipped before the next cycle looks.
    this.#owedSince = outcome.owedSince ?? this.#owedSince;
    this.#points += 1;
    this.#attempts = 0;
    this.#failedWith = null;
    this.#tell({ type: "cycle", report: outcome.report });
    return outcome;
  }

  /** Waits out a fault that may pass; throws one that does not. */
  async #bear(error: unknown): Promise<void> {
    const { prng } = this.#options;
    const fault: Fault | null = faultOf(error);
    if (fault === null) throw error;
    const mustWaitForLink = this.#standing === null || !isReadyToCut(this.#standing);
    if (isLinkFault(fault) && mustWaitForLink) {
      this.#enter("waiting-for-link");
      return this.#sleep(waitForLinkMs);
    }
    const isOursAgain = wasHandedBack(fault, this.#options.group.holder);
    if (!isOursAgain) await this.#tellIfStale(fault);
    this.#attempts += 1;
    const retriesMax = this.#options.retriesMax ?? Number.POSITIVE_INFINITY;
    const mayPass = isOursAgain || isWorthRetrying(fault, this.#failedWith);
    this.#failedWith = fault.code;
    if (!mayPass || this.#attempts > retriesMax) throw error;
    const delayMs = retryDelayMs(fault.code, this.#attempts, prng);
    this.#enter("retrying");
    this.#tell({
      type: "retrying",
      fault,
      attempt: this.#attempts,
      delaySeconds: delayMs / 1000,
      lagSeconds: this.#lagSeconds(),
    });
    await this.#sleep(delayMs);
  }

  #lagSeconds(): number | null {
    const { journal, clock } = this.#options;
    const newest = acknowledgedPoint(journal);
    return newest === null ? null : (clock.nowMs() - currentAsOfMs(newest)) / 1000;
  }

  /** Generations fence replication, not machines: these are paused only where that was asked for. */
  async #tellIfStale(fault: Fault): Promise<void> {
    if (!isFault(fault, "GENERATION_STALE", "GENERATION_CONFLICT")) return;
    const { source, signal, onStale } = this.#options;
    const mayPause = fault.code === "GENERATION_STALE" && onStale === "pause";
    let paused: readonly MachineName[] = [];
    try {
      if (mayPause) paused = await source.pause({ signal });
    } finally {
      this.#tell({ type: "stale", fault, paused });
    }
  }

  /** Until then, or until the run is told to end. */
  async #sleep(durationMs: number): Promise<void> {
    const { clock, signal } = this.#options;
    try {
      await clock.sleep(durationMs, { signal });
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

import type { Clock } from "../base/clock.ts";
import type { GroupTelemetry } from "../control/telemetry.ts";
import type { Point } from "../core/point.ts";
import { currentAsOfMs } from "../engine/cycle-report.ts";
import type { AttachedDisk, EngineEvent } from "../engine/events.ts";
import type { SpoolStatus } from "../engine/spool/spool-events.ts";
import type { SyncProgress } from "../engine/sync-progress.ts";
import { RpoWindow } from "./vault-rpo.ts";

type Totals = GroupTelemetry["totals"];
type CycleEvent = Extract<EngineEvent, { readonly type: "cycle" }>;

/** What the meter asks of others. */
export interface MeterSources {
  readonly clock: Clock;
  /** The newest point at the vault, as last heard. */
  readonly acknowledged: () => Point | null;
  readonly targetRpoSeconds: () => number | null;
  /** The interval in force and why. */
  readonly interval: () => GroupTelemetry["interval"];
  /** Null where no spool lies between. */
  readonly spool: () => SpoolStatus | null;
}

/** Measures one group from what its engine tells. */
export class GroupMeter {
  readonly #sources: MeterSources;
  readonly #rpo = new RpoWindow();
  #way: GroupTelemetry["way"] = null;
  #lagSeconds: number | null = null;
  #sync: SyncProgress | null = null;
  #disks: readonly AttachedDisk[] = [];
  #dirtyBytes: number | null = null;
  #fixedSeconds = 0;
  #totals: Totals = {
    points: 0,
    dirtyBytes: 0,
    readBytes: 0,
    dataBytes: 0,
    zeroBytes: 0,
    storedBytes: 0,
    missedIntervals: 0,
  };

  constructor(sources: MeterSources) {
    this.#sources = sources;
  }

  /** How each disk's changes are known. */
  get disks(): readonly AttachedDisk[] {
    return this.#disks;
  }

  /** Since the process started. */
  get totals(): Totals {
    return this.#totals;
  }

  /** What a point takes besides its bytes: freezing and sealing, as of the newest. */
  get fixedSeconds(): number {
    return this.#fixedSeconds;
  }

  /** What had changed at the newest point; null before the first. */
  get dirtyBytes(): number | null {
    return this.#dirtyBytes;
  }

  /** What a loss of this site would cost now, from what is at the vault; null before the first point. */
  get rpoSeconds(): number | null {
    const newest = this.#sources.acknowledged();
    if (newest === null) return null;
    return Math.max(0, this.#sources.clock.nowMs() - currentAsOfMs(newest)) / 1000;
  }

  follow(event: EngineEvent): void {
    if (event.type === "cycle") this.#count(event);
    if (event.type === "attached") this.#disks = event.disks;
    if (event.type === "sync") this.#sync = event.progress;
    if (event.type === "state" && event.state !== "syncing") this.#sync = null;
    if (event.type === "shipped") this.#lagSeconds = event.lagSeconds;
    if (event.type === "route") this.#way = event.route;
    if (event.type === "late") {
      const missedIntervals = this.#totals.missedIntervals + event.skipped;
      this.#totals = { ...this.#totals, missedIntervals };
    }
  }

  /** Called each second: the RPO's distribution is over time, not over points. */
  second(): void {
    const { rpoSeconds } = this;
    if (rpoSeconds !== null) this.#rpo.add(rpoSeconds);
  }

  telemetry(): GroupTelemetry {
    const { acknowledged, targetRpoSeconds, interval } = this.#sources;
    const spool = this.#sources.spool();
    const newest = acknowledged();
    const sync = this.#sync;
    return {
      rpoSeconds: this.rpoSeconds,
      targetRpoSeconds: targetRpoSeconds(),
      rpoQuantiles: this.#rpo.quantiles(),
      lagSeconds: this.#lagSeconds,
      newest:
        newest === null
          ? null
          : {
              id: newest.id,
              sequence: newest.sequence,
              takenAtMs: newest.instant.lowerMs,
              currentAtMs: newest.currentAtMs,
            },
      backlog: { points: spool?.points ?? 0, bytes: spool?.bytes ?? 0 },
      etaSeconds: sync?.etaSeconds ?? (spool?.points ? spool.shippingEtaSeconds : null),
      interval: interval(),
      way: this.#way,
      sync:
        sync === null
          ? null
          : {
              disk: sync.disk,
              kind: sync.kind === "base" ? "initial sync" : "resync",
              doneBytes: sync.doneBytes,
              sizeBytes: sync.sizeBytes,
            },
      totals: this.#totals,
    };
  }

  #count({ report }: CycleEvent): void {
    const before = this.#totals;
    const { dirtyBytes, readBytes, dataBytes, zeroBytes, storedBytes } = report;
    this.#totals = {
      points: before.points + 1,
      dirtyBytes: before.dirtyBytes + dirtyBytes,
      readBytes: before.readBytes + readBytes,
      dataBytes: before.dataBytes + dataBytes,
      zeroBytes: before.zeroBytes + zeroBytes,
      storedBytes: before.storedBytes + storedBytes,
      missedIntervals: before.missedIntervals,
    };
    this.#way = report.via;
    this.#dirtyBytes = dirtyBytes;
    const { freeze = 0, seal = 0 } = report.phasesMs;
    this.#fixedSeconds = (freeze + seal) / 1000;
    if (report.lagSeconds !== null) this.#lagSeconds = report.lagSeconds;
    this.#disks = this.#disks.map(({ name }) => ({ name, state: "tracked", cause: null }));
  }
}

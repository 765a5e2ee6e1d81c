import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, faultWithin, isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import type { Alarm } from "../control/telemetry.ts";
import type { Custody } from "../control/vault-state.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import type { Point } from "../core/point.ts";
import type { RetentionPolicy } from "../core/retention.ts";
import { Maintenance } from "../engine/maintenance.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import type { EventLog } from "./event-log.ts";
import { describeFault } from "./group-writer.ts";
import { JournalKeeper } from "./journal-keeper.ts";
import { GroupIntakes } from "./vault-intake.ts";
import { RpoWindow, vaultRpoOf } from "./vault-rpo.ts";
import { SilenceWatch } from "./vault-silence.ts";

type GroupState = WriterState["groups"][number];
type Log = Pick<EventLog, "note">;

/** How a vault treats one group. */
export interface VaultGroupPolicy {
  readonly retention: RetentionPolicy;
  /** Null: by what usually lies between two signs of life. */
  readonly silentAfterMs: number | null;
  readonly alarmWhenSilent: boolean;
  /** An alarm is raised when the clocks may differ by more. */
  readonly clockOffsetMaxMs: number;
}

/** What is known of a group beside its journal. */
export interface GroupSurroundings {
  /** Who has a connection open for it, and how many. */
  readonly peer: Peer | null;
  /** Names of replicators by their ids. */
  readonly nameOf: (holder: string) => string | null;
}

/** How long a replicator that may not write and asked to is told of. */
const rivalShownMs = 300_000;

/** Something that is wrong, and since when. */
interface StandingFault {
  readonly fault: Fault;
  readonly sinceMs: number;
}

/** How often a fault of one kind is written down. */
const faultsApartMs = 60_000;

/** What keeps the vault itself from taking points; whatever else fails is the peer's to tell. */
const vaultFaults: ReadonlySet<string> = new Set<FaultCode>([
  "STORAGE_FULL",
  "STORAGE_DENIED",
  "STORAGE_FAILED",
  "STORAGE_MISSING",
  "LEDGER_CORRUPT",
  "BASE_CORRUPT",
  "DELTA_MISSING",
]);

/** How many signs of life of an earlier life tell what lies between them. */
const gapsRead = 17;

/** One group that a vault keeps for others: its journal, the ways to it, retention, and how it fares. */
export class VaultGroup implements AsyncDisposable {
  readonly keeper: JournalKeeper;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #policy: VaultGroupPolicy;
  readonly #intakes: GroupIntakes;
  readonly #maintenance: Maintenance;
  readonly #silence: SilenceWatch;
  readonly #rpo = new RpoWindow();
  #lastHeardAtMs: number | null;
  #isExpected: boolean;
  #isSkewed: boolean;
  #wireBytes = 0;
  #baseBytes = 0;
  #silentSinceMs: number | null = null;
  #maintenanceFault: Fault | null = null;
  /** Why the vault could not take what came last, until it takes something. */
  #storageFault: StandingFault | null = null;
  /** `lastAtMs`: on the monotonic clock. */
  #rival: (StandingFault & { readonly lastAtMs: number }) | null = null;
  readonly #notedAtMs = new Map<FaultCode, number>();

  constructor(options: {
    name: GroupName;
    journal: DirectoryJournal;
    clock: Clock;
    log: Log;
    policy: VaultGroupPolicy;
    /** Whether a sync that an earlier life began waits to go on. */
    isSyncing: boolean;
  }) {
    const { name, journal, clock, log, policy } = options;
    this.#clock = clock;
    this.#log = log;
    this.#policy = policy;
    this.keeper = new JournalKeeper({ name, journal, clock, retention: policy.retention });
    const points = journal.points().slice(-gapsRead);
    const head = points.at(-1) ?? null;
    this.#lastHeardAtMs = head === null ? null : Math.min(lastSignOf(head), clock.nowMs());
    this.#isExpected = head !== null || options.isSyncing;
    this.#isSkewed = head !== null && this.#skewFault(head) !== null;
    this.#silence = new SilenceWatch({
      silentAfterMs: policy.silentAfterMs,
      atMs: clock.monotonicMs(),
      gapsMs: points.slice(1).map((point, index) => point.sealedAtMs - points[index]!.sealedAtMs),
    });
    this.#maintenance = new Maintenance({
      work: ({ signal }) => this.#maintain(signal),
      onError: (error) => this.#maintenanceFailed(error),
    });
    this.#intakes = new GroupIntakes(journal, {
      onBytes: (wireBytes) => {
        this.#wireBytes += wireBytes;
        this.#silence.moved(this.#clock.monotonicMs());
      },
      onCheckpoint: () => this.#heard(),
      onConfirmed: () => this.#heard(),
      onSealed: (point) => this.#sealed(point),
      onFault: (fault) => this.#failed(fault),
    });
    this.#maintenance.request();
  }

  get name(): GroupName {
    return this.keeper.name;
  }

  get journal(): DirectoryJournal {
    return this.keeper.journal;
  }

  /** The way of a peer to this group; disposing it ends what the peer left open. */
  intake(peer: Peer): JournalIntake {
    return this.#intakes.open(peer);
  }

  /** Called once a second: samples the RPO, and raises or ends the dead man's alarm. */
  tick(surroundings: GroupSurroundings): void {
    const head = this.journal.head();
    if (head !== null) this.#rpo.add(this.#rpoOf(head).seconds);
    if (!this.#isExpected || !this.#policy.alarmWhenSilent) return;
    const turned = this.#silence.check(this.#clock.monotonicMs());
    if (turned === "speaking") {
      this.#silentSinceMs = null;
      this.#log.note("info", "The source speaks again.", { group: this.name });
    }
    if (turned !== "silent") return;
    this.#silentSinceMs = this.#lastHeardAtMs ?? Math.floor(this.#clock.nowMs());
    const fault = this.#silentFault(this.#silentSinceMs, surroundings.peer);
    const { code, message: cause, nextStep, details } = fault;
    const message = "The source of a group is silent.";
    this.#log.note("error", message, { group: this.name, code, cause, nextStep, ...details });
  }

  /** Measures what the base takes; for now and then. */
  async measure(): Promise<void> {
    const { files, layout } = this.journal.group;
    let bytes = 0;
    try {
      for (const name of await files.list(layout.base)) {
        bytes += (await files.stat(join(layout.base, name)))?.allocatedBytes ?? 0;
      }
    } catch (error) {
      if (!isFault(error)) throw error;
      return; // What was measured before stands; whoever needs the files hears of it.
    }
    this.#baseBytes = bytes;
  }

  /** What a person should act on. */
  alarms({ peer }: GroupSurroundings): readonly Alarm[] {
    const found: StandingFault[] = [];
    if (this.#silentSinceMs !== null) {
      const sinceMs = this.#silentSinceMs;
      found.push({ fault: this.#silentFault(sinceMs, peer), sinceMs });
    }
    if (this.#storageFault !== null) found.push(this.#storageFault);
    const head = this.journal.head();
    const skew = head === null ? null : this.#skewFault(head);
    if (head !== null && skew !== null) found.push({ fault: skew, sinceMs: head.sealedAtMs });
    const rival = this.#rivalNow();
    return [
      ...found.map((one) => this.#alarmOf("alarm", one)),
      ...(rival === null ? [] : [this.#alarmOf("warning", rival)]),
    ];
  }

  /** For `afterimage status`. */
  state(surroundings: GroupSurroundings): GroupState {
    const [alarm] = this.alarms(surroundings);
    const behind = this.#maintenanceFault ?? this.keeper.heldBack;
    const background = behind === null ? null : describeFault(behind);
    const trouble =
      alarm === undefined ? background : `${alarm.code}: ${alarm.cause} — ${alarm.nextStep}`;
    const state = this.#stateName(surroundings.peer);
    return { name: this.name, state, trouble, custody: this.#custody(surroundings) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#maintenance[Symbol.asyncDispose]();
    await this.keeper[Symbol.asyncDispose]();
  }

  #stateName(peer: Peer | null): string {
    if (this.#silentSinceMs !== null) return "silent";
    if (peer !== null) return "receiving";
    return this.journal.head() === null ? "empty" : "waiting";
  }

  #alarmOf(severity: Alarm["severity"], { fault, sinceMs }: StandingFault): Alarm {
    const { code, message: cause, nextStep } = fault;
    return { code, severity, group: this.name, cause, nextStep, sinceMs };
  }

  /** Somebody who does not hold the group asks to write, or did so just now. */
  #rivalNow(): StandingFault | null {
    const rival = this.#rival;
    if (rival === null || this.#clock.monotonicMs() - rival.lastAtMs < rivalShownMs) return rival;
    this.#rival = null;
    return null;
  }

  #custody({ peer, nameOf }: GroupSurroundings): Custody {
    const { journal } = this;
    const head = journal.head();
    const rpo = head === null ? null : this.#rpoOf(head);
    const { generation } = journal;
    const deltas = journal.group.state.deltas();
    return {
      generation:
        generation === null
          ? null
          : {
              number: generation.number,
              holderId: generation.holder,
              holder: nameOf(generation.holder),
            },
      peer: peer === null ? null : { name: peer.name, id: peer.id, address: peer.address },
      lastHeardAtMs: this.#lastHeardAtMs,
      rpoSeconds: rpo?.seconds ?? null,
      rpoErrorSeconds: rpo?.errorSeconds ?? null,
      rpoQuantiles: this.#rpo.quantiles(),
      clock: head?.clock ?? null,
      bytes: {
        wire: this.#wireBytes,
        journal: deltas.reduce((sum, delta) => sum + delta.storedBytes, 0),
        base: this.#baseBytes,
      },
      silentSinceMs: this.#silentSinceMs,
      points: journal.points().length,
    };
  }

  #rpoOf(head: Point) {
    const nowMs = this.#clock.nowMs();
    return vaultRpoOf(head, { nowMs, heardAtMs: this.#lastHeardAtMs ?? nowMs });
  }

  #heard(): void {
    this.#storageFault = null;
    this.#isExpected = true;
    this.#lastHeardAtMs = Math.floor(this.#clock.nowMs());
    this.#silence.spoke(this.#clock.monotonicMs());
  }

  #sealed(point: Point): void {
    this.#heard();
    const { sequence, id, cost, instant } = point;
    const facts = { group: this.name, sequence, point: id, storedBytes: cost.storedBytes };
    const ageSeconds = (this.#clock.nowMs() - instant.lowerMs) / 1000;
    this.#log.note("info", "A point was sealed.", { ...facts, ageSeconds });
    const skew = this.#skewFault(point);
    if (skew !== null && !this.#isSkewed) {
      const { code, message: cause, nextStep, details } = skew;
      const message = "The clocks of the two sites differ too much.";
      this.#log.note("error", message, { group: this.name, code, cause, nextStep, ...details });
    }
    this.#isSkewed = skew !== null;
    this.#maintenance.request();
  }

  /** Each kind is written down once a minute at most: whoever asks again and again is answered all the same. */
  #failed(fault: Fault): void {
    const { code, message: cause, nextStep } = fault;
    if (code === "LINK_RESET") return;
    const isOurs = vaultFaults.has(code);
    const wallMs = Math.floor(this.#clock.nowMs());
    const nowMs = this.#clock.monotonicMs();
    if (isOurs) this.#storageFault = { fault, sinceMs: this.#storageFault?.sinceMs ?? wallMs };
    if (isFault(fault, "GENERATION_CONFLICT", "GENERATION_STALE")) {
      const sinceMs = this.#rivalNow()?.sinceMs ?? wallMs;
      this.#rival = { fault, sinceMs, lastAtMs: nowMs };
    }
    if (nowMs - (this.#notedAtMs.get(code) ?? Number.NEGATIVE_INFINITY) < faultsApartMs) return;
    this.#notedAtMs.set(code, nowMs);
    const message = "What a replicator asked for was refused or failed.";
    const facts = { group: this.name, code, cause, nextStep };
    this.#log.note(isOurs ? "error" : "warn", message, facts);
  }

  async #maintain(signal: AbortSignal): Promise<void> {
    await this.keeper.maintain({ signal });
    this.#maintenanceFault = null;
  }

  #maintenanceFailed(error: unknown): void {
    const fault = faultWithin(error);
    if (fault === null) throw error;
    this.#maintenanceFault = fault;
    const { code, message: cause, details } = fault;
    const facts = { group: this.name, code, cause, details };
    this.#log.note("warn", "Work behind the points failed.", facts);
  }

  #silentFault(sinceMs: number, peer: Peer | null): Fault {
    const since = new Date(sinceMs).toISOString();
    const why =
      peer === null ? "nobody is connected" : `${peer.name} is connected and sends no points`;
    const message = `${this.name}: the source is silent since ${since}: ${why}`;
    return new Fault("SOURCE_SILENT", message, { group: this.name, sinceMs });
  }

  #skewFault({ clock }: Point): Fault | null {
    if (clock === null) return null;
    const differMs = Math.abs(clock.offsetMs) + clock.errorMs;
    if (differMs <= this.#policy.clockOffsetMaxMs) return null;
    const offset = `${clock.offsetMs} ms, give or take ${clock.errorMs} ms`;
    const message = `${this.name}: this clock and the source's differ by ${offset}`;
    return new Fault("CLOCK_SKEW", message, { group: this.name, ...clock });
  }
}

/** When a point, or that it was still current, was heard of last, on the vault's clock. */
function lastSignOf({ sealedAtMs, currentAtMs, clock }: Point): number {
  if (currentAtMs === null) return sealedAtMs;
  return Math.max(sealedAtMs, currentAtMs + (clock?.offsetMs ?? 0));
}

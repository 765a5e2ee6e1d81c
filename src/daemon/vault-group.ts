import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { type Fault, faultWithin, isFault } from "../base/fault.ts";
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
import { GroupTroubles } from "./vault-troubles.ts";

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
  #wireBytes = 0;
  #baseBytes = 0;
  #maintenanceFault: Fault | null = null;
  readonly #troubles: GroupTroubles;

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
    const { clockOffsetMaxMs } = policy;
    this.#troubles = new GroupTroubles({ name, clock, log, clockOffsetMaxMs, head });
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
      onFault: (fault) => this.#troubles.failed(fault),
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
    if (turned === "speaking") this.#troubles.speaks();
    if (turned !== "silent") return;
    const sinceMs = this.#lastHeardAtMs ?? Math.floor(this.#clock.nowMs());
    this.#troubles.isSilent(sinceMs, surroundings.peer);
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
    return this.#troubles.alarms({ peer, head: this.journal.head() });
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
    if (this.#troubles.silentSinceMs !== null) return "silent";
    if (peer !== null) return "receiving";
    return this.journal.head() === null ? "empty" : "waiting";
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
      silentSinceMs: this.#troubles.silentSinceMs,
      points: journal.points().length,
    };
  }

  #rpoOf(head: Point) {
    const nowMs = this.#clock.nowMs();
    return vaultRpoOf(head, { nowMs, heardAtMs: this.#lastHeardAtMs ?? nowMs });
  }

  #heard(): void {
    this.#troubles.tookSomething();
    this.#isExpected = true;
    this.#lastHeardAtMs = Math.floor(this.#clock.nowMs());
    this.#silence.spoke(this.#clock.monotonicMs());
  }

  #sealed(point: Point): void {
    this.#heard();
    const { sequence, id, cost } = point;
    const facts = { group: this.name, sequence, point: id, storedBytes: cost.storedBytes };
    const ageSeconds = this.#rpoOf(point).seconds;
    this.#log.note("info", "A point was sealed.", { ...facts, ageSeconds });
    this.#troubles.sealed(point);
    this.#maintenance.request();
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
}

/** When a point, or that it was still current, was heard of last, on the vault's clock. */
function lastSignOf({ sealedAtMs, currentAtMs, clock }: Point): number {
  if (currentAtMs === null) return sealedAtMs;
  return Math.max(sealedAtMs, currentAtMs + (clock?.offsetMs ?? 0));
}

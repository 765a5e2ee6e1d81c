import assert from "node:assert/strict";
import type { CommandContext } from "../cli/command-context.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { ReplicationSummary } from "../cli/up.ts";
import type { GroupTelemetry } from "../control/telemetry.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { GroupName } from "../core/ids.ts";
import { acknowledgedPoint } from "../engine/cycle-intake.ts";
import type { EngineEvent } from "../engine/events.ts";
import { faultOf } from "../engine/fault-of.ts";
import type { ReadsOutlook } from "../engine/pace-reads.ts";
import { runGroup } from "../engine/run.ts";
import type { Spool } from "../engine/spool/spool.ts";
import { spooledIntake } from "../engine/spool/spooled-intake.ts";
import type { SpooledIntake } from "../engine/spool/spooled-intake-options.ts";
import type { Link } from "../transport/link.ts";
import type { AlarmBook } from "./alarm-book.ts";
import { diskCodec } from "./disk-codec.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";
import { GroupAlarms } from "./group-alarms.ts";
import { GroupInterval } from "./group-interval.ts";
import { GroupMeter } from "./group-meter.ts";
import { GroupPace } from "./group-pace.ts";
import { describeFault } from "./group-writer.ts";
import { judgeGroupLink } from "./link-judge.ts";
import { syncOpening } from "./link-plan.ts";
import { noteInterval, noteReads } from "./note-changes.ts";
import { openSource } from "./qemu-group-source.ts";

type GroupState = WriterState["groups"][number];
type GroupSummary = ReplicationSummary["groups"][number];

/** What a group of a replicator works with. */
export interface ReplicatorParts {
  readonly context: CommandContext;
  readonly log: EventLog;
  readonly link: Link;
  readonly spool: Spool;
  /** 16 hex digits: who writes. */
  readonly holder: string;
  readonly alarms: AlarmBook;
  /** The cap in force on what a group may send; null when there is none. */
  readonly capOf: (group: GroupName) => number | null;
  /** Hears of each event, for metrics. */
  readonly onEvent: (event: EngineEvent) => void;
}

//   running ──a fault that needs a person──▶ stopped ──reload──▶ running
//      └────────────── signal ───────────────▶ ended

/** One group of a replicator: source, engine, spool and link put together, and how it fares. */
export class ReplicatorGroup implements AsyncDisposable {
  readonly name: GroupName;
  readonly meter: GroupMeter;
  readonly #parts: ReplicatorParts;
  #openIntake: SpooledIntake | null = null;
  readonly #alarms: GroupAlarms;
  readonly #interval: GroupInterval;
  readonly #pace: GroupPace;
  #config: Config;
  #group: ConfigGroup;
  #state = "starting";
  #trouble: string | null = null;
  #points = 0;
  #linkSeverity: "alarm" | "warning" | null = null;
  #again = Promise.withResolvers<void>();

  /** Opens the group's spool. */
  static async open(
    parts: ReplicatorParts,
    config: Config,
    group: ConfigGroup,
  ): Promise<ReplicatorGroup> {
    const one = new ReplicatorGroup(parts, config, group);
    const { link, spool, holder, context } = parts;
    one.#openIntake = await spooledIntake({
      spool,
      group: { name: group.name, holder },
      link: link.intake(group.name),
      health: () => link.health(),
      codecOf: (disk) => diskCodec(one.#config, group.name, disk),
      clock: context.clock,
      onEvent: (event) => one.#follow({ group: group.name, ...event }),
    });
    return one;
  }

  /** Use `open`. */
  private constructor(parts: ReplicatorParts, config: Config, group: ConfigGroup) {
    this.name = group.name;
    this.#parts = parts;
    this.#config = config;
    this.#group = group;
    this.#alarms = new GroupAlarms(group.name, parts.alarms);
    this.#interval = new GroupInterval(
      {
        linkCapBytesPerSecond: () => parts.capOf(group.name),
        linkBytesPerSecond: () => parts.link.health().bytesPerSecond,
        onChange: (change) => noteInterval(parts.log, group.name, change),
      },
      config,
      group,
    );
    this.#pace = new GroupPace({
      clock: parts.context.clock,
      production: config.production,
      onChange: (outlook) => noteReads(parts.log, group.name, outlook),
    });
    const { clock } = parts.context;
    this.meter = new GroupMeter({
      clock,
      acknowledged: () => acknowledgedPoint(this.#intake),
      targetRpoSeconds: () => this.#interval.targetRpoSeconds,
      interval: () => this.#interval.inForce,
      spool: () => this.#intake.status(),
    });
  }

  get #intake(): SpooledIntake {
    assert(this.#openIntake !== null, "opened before it is used");
    return this.#openIntake;
  }

  get state(): GroupState {
    const telemetry: GroupTelemetry = this.meter.telemetry();
    return { name: this.name, state: this.#state, trouble: this.#trouble, telemetry };
  }

  /** What guests' writes cost. */
  get reads(): ReadsOutlook {
    return this.#pace.outlook;
  }

  /** What applies at once does; a group that had stopped tries again. */
  reload(config: Config, group: ConfigGroup): void {
    this.#config = config;
    this.#group = group;
    this.#interval.reload(config, group);
    this.#pace.reload(config.production);
    this.#again.resolve();
    this.#again = Promise.withResolvers();
  }

  /** Called each second. */
  second(): void {
    this.meter.second();
    this.#alarms.target(this.meter.rpoSeconds, this.#interval.targetRpoSeconds);
    this.#judgeLink();
  }

  /** A lesser link is told as soon as it is known: by its round trip before protection starts, by its rate while it runs. */
  #judgeLink(): void {
    const { link, capOf, context, log } = this.#parts;
    const { dataBytes, storedBytes } = this.meter.totals;
    const complaint = judgeGroupLink({
      health: link.health(),
      capBytesPerSecond: capOf(this.name),
      targetRpoSeconds: this.#interval.targetRpoSeconds,
      uniqueBytesIn: (seconds) =>
        this.#interval.uniqueBytesIn(seconds, context.clock.monotonicMs()),
      sentPerByte: dataBytes === 0 ? 1 : storedBytes / dataBytes,
      fixedSeconds: this.meter.fixedSeconds,
    });
    this.#alarms.link(complaint);
    const isNew = complaint !== null && complaint.severity !== this.#linkSeverity;
    this.#linkSeverity = complaint?.severity ?? null;
    if (!isNew) return;
    const facts = { group: this.name, cause: complaint.fault.message };
    log.note("warn", "The link is less than the target needs.", facts);
  }

  /** Replicates until the signal; a fault that needs a person stops the group until the configuration is read again. */
  async run(signal: AbortSignal): Promise<GroupSummary> {
    const ended = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => ended.resolve(), { once: true });
    while (!signal.aborted) {
      const again = this.#again.promise;
      await this.#runOnce(signal);
      if (!signal.aborted) await Promise.race([again, ended.promise]);
    }
    return { name: this.name, points: this.#points, endedBy: "signal", fault: null };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#intake[Symbol.asyncDispose]();
  }

  /** Cycles and shipping beside each other; what ends one ends both. */
  async #runOnce(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    const stopping = new AbortController();
    const both = AbortSignal.any([signal, stopping.signal]);
    try {
      const cycles = this.#replicate(both).finally(() => stopping.abort());
      const shipping = this.#intake.run({ signal: both }).catch((error: unknown) => {
        // A bug of ours: unless the cycles end, nobody hears that nothing leaves the spool any more.
        stopping.abort(error);
        throw error;
      });
      const results = await Promise.allSettled([cycles, shipping]);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    } catch (error) {
      const fault = faultOf(error);
      if (fault === null) throw error;
      this.#state = "stopped";
      this.#trouble = describeFault(fault);
      this.#alarms.stopped(fault);
      const facts = { group: this.name, ...faultFacts(fault) };
      log.note("error", "The group stopped and needs a person.", facts);
    }
  }

  async #replicate(signal: AbortSignal): Promise<void> {
    const { context, link, holder } = this.#parts;
    const { clock, prng } = context;
    await using source = openSource(context, this.#config, this.#group);
    this.#pace.watch(source);
    // Asked for each time they matter, so that a configuration that was read again applies.
    const config = () => this.#config;
    const group = () => this.#group;
    await runGroup({
      source,
      journal: this.#intake,
      group: { name: this.name, holder },
      intervalSeconds: this.#interval.inForce.seconds,
      interval: this.#interval,
      pace: this.#pace,
      get syncBytesPerSecondMax() {
        return config().sync.bytesPerSecondMax;
      },
      syncMayRun: () => syncOpening(config())(clock.nowMs()),
      clockComparison: () => link.health().clock,
      clockOffsetMaxMs: config().link.clockOffsetMaxSeconds * 1000,
      get onStale() {
        return group().onStale;
      },
      clock,
      prng,
      signal,
      onEvent: (event) => this.#follow(event),
    });
  }

  #follow(event: EngineEvent): void {
    if (event.type === "state") this.#state = event.state;
    if (event.type === "cycle") this.#points += 1;
    if (event.type === "cycle" || event.type === "current") this.#trouble = null;
    if (event.type === "retrying" || event.type === "maintenance-failed") {
      this.#trouble = describeFault(event.fault);
    }
    this.meter.follow(event);
    this.#alarms.follow(event);
    this.#parts.log.event(event);
    this.#parts.onEvent(event);
  }
}

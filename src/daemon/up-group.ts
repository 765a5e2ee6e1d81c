import type { CommandContext } from "../cli/command-context.ts";
import type { Config } from "../cli/config-schema.ts";
import type { ReplicationSummary } from "../cli/up.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { EngineEvent } from "../engine/events.ts";
import { faultOf } from "../engine/fault-of.ts";
import type { ReadsOutlook } from "../engine/pace-reads.ts";
import { runGroup } from "../engine/run.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";
import { GroupAlarms } from "./group-alarms.ts";
import { GroupInterval } from "./group-interval.ts";
import { GroupMeter } from "./group-meter.ts";
import { GroupPace } from "./group-pace.ts";
import type { GroupWriter } from "./group-writer.ts";
import { syncOpening } from "./link-plan.ts";
import { noteInterval, noteReads } from "./note-changes.ts";
import { openSource } from "./qemu-group-source.ts";

/** Faults in a row that a run with an end bears; one without an end bears any number. */
const boundedRetriesMax = 3;

type GroupSummary = ReplicationSummary["groups"][number];

/** One group of a process that replicates into its own vault: how it runs and how it fares. */
export class UpGroup {
  readonly writer: GroupWriter;
  readonly meter: GroupMeter;
  readonly #context: CommandContext;
  readonly #config: Config;
  readonly #log: EventLog;
  readonly #alarms: GroupAlarms;
  readonly #interval: GroupInterval;
  readonly #pace: GroupPace;
  readonly #onEvent: (event: EngineEvent) => void;
  #points = 0;

  constructor(options: {
    context: CommandContext;
    config: Config;
    writer: GroupWriter;
    log: EventLog;
    alarms: AlarmBook;
    /** Hears of each event, for metrics. */
    onEvent: (event: EngineEvent) => void;
  }) {
    const { context, config, writer, log } = options;
    const { clock } = context;
    const { name, group, journal } = writer;
    this.writer = writer;
    this.#context = context;
    this.#config = config;
    this.#log = log;
    this.#onEvent = options.onEvent;
    this.#alarms = new GroupAlarms(name, options.alarms);
    const surroundings = {
      linkCapBytesPerSecond: () => null,
      linkBytesPerSecond: () => null,
      onChange: (change: Parameters<typeof noteInterval>[2]) => noteInterval(log, name, change),
    };
    this.#interval = new GroupInterval(surroundings, config, group);
    const { production } = config;
    const onChange = (outlook: ReadsOutlook) => noteReads(log, name, outlook);
    this.#pace = new GroupPace({ clock, production, onChange });
    this.meter = new GroupMeter({
      clock,
      acknowledged: () => journal.head(),
      targetRpoSeconds: () => this.#interval.targetRpoSeconds,
      interval: () => this.#interval.inForce,
      spool: () => null,
    });
  }

  get name() {
    return this.writer.name;
  }

  get state(): WriterState["groups"][number] {
    return { ...this.writer.state, telemetry: this.meter.telemetry() };
  }

  /** What guests' writes cost. */
  get reads(): ReadsOutlook {
    return this.#pace.outlook;
  }

  /** Called each second. */
  second(): void {
    this.meter.second();
    this.#alarms.target(this.meter.rpoSeconds, this.#interval.targetRpoSeconds);
  }

  /** Replicates until `cycles` points are sealed, or the signal. A fault that needs a person ends it. */
  async run(options: { cycles: number | null; signal: AbortSignal }): Promise<GroupSummary> {
    const { cycles, signal } = options;
    const { clock, prng } = this.#context;
    const { name, writer } = this;
    try {
      await using source = openSource(this.#context, this.#config, writer.group);
      this.#pace.watch(source);
      const mayRun = syncOpening(this.#config);
      const { endedBy } = await runGroup({
        source,
        journal: writer.journal,
        group: { name, holder: writer.generation(prng).holder },
        intervalSeconds: this.#interval.inForce.seconds,
        interval: this.#interval,
        cycles,
        retriesMax: cycles === null ? null : boundedRetriesMax,
        pace: this.#pace,
        syncBytesPerSecondMax: this.#config.sync.bytesPerSecondMax,
        syncMayRun: () => mayRun(clock.nowMs()),
        maintain: (request) => writer.maintain(request),
        clock,
        prng,
        signal,
        onEvent: (event) => this.#follow(event),
      });
      return { name, points: this.#points, endedBy, fault: null };
    } catch (error) {
      const fault = faultOf(error);
      if (fault === null) throw error;
      writer.fail(fault);
      this.#alarms.stopped(fault);
      const facts = { group: name, ...faultFacts(fault) };
      this.#log.note("error", "The group stopped and needs a person.", facts);
      return { name, points: this.#points, endedBy: "fault", fault };
    }
  }

  #follow(event: EngineEvent): void {
    if (event.type === "cycle") this.#points += 1;
    this.writer.follow(event);
    this.meter.follow(event);
    this.#alarms.follow(event);
    this.#log.event(event);
    this.#onEvent(event);
  }
}

import { Fault } from "../base/fault.ts";
import type { CommandContext } from "../cli/command-context.ts";
import { readConfig } from "../cli/config.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { ReplicationSummary } from "../cli/up.ts";
import type { ControlHandler } from "../control/server.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { DiskName, GroupName } from "../core/ids.ts";
import { faultOf } from "../engine/fault-of.ts";
import type { AlarmBook } from "./alarm-book.ts";
import { restartNeeds } from "./config-changes.ts";
import { diskCodec } from "./disk-codec.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";
import { reloadAtHangup } from "./reload-requests.ts";
import { ReplicatorGroup, type ReplicatorParts } from "./replicator-group.ts";
import type { ReplicatorLink } from "./replicator-link.ts";
import { runTogether } from "./run-together.ts";

/** All groups of a replicator, and the configuration in force. */
export class Replicator {
  readonly #context: CommandContext;
  readonly #log: EventLog;
  readonly #path: string;
  readonly #alarms: AlarmBook;
  readonly #groups: ReplicatorGroup[] = [];
  #config: Config;

  constructor(options: {
    context: CommandContext;
    log: EventLog;
    config: Config;
    path: string;
    alarms: AlarmBook;
  }) {
    this.#context = options.context;
    this.#log = options.log;
    this.#config = options.config;
    this.#path = options.path;
    this.#alarms = options.alarms;
  }

  get groups(): readonly ReplicatorGroup[] {
    return this.#groups;
  }

  /** Adds a group; whoever opened it disposes it. */
  async open(group: ConfigGroup, parts: ReplicatorParts): Promise<ReplicatorGroup> {
    const one = await ReplicatorGroup.open(parts, this.#config, group);
    this.#groups.push(one);
    return one;
  }

  /** How a disk's chunks are sent: its machine's word, else its group's, else the top's. */
  codecOf(disk: DiskName, groupName: GroupName): "raw" | "zstd" {
    return diskCodec(this.#config, groupName, disk);
  }

  /** Runs all groups until the signal. */
  async run(signal: AbortSignal): Promise<ReplicationSummary["groups"]> {
    return runTogether(this.#groups, signal, (group, running) => group.run(running));
  }

  /** What other processes may ask of a replicator. */
  controlHandler(startedAtMs: number, link: ReplicatorLink): ControlHandler {
    return async (request) => {
      if (request.verb === "state") {
        return {
          pid: process.pid,
          startedAtMs,
          role: "replicator",
          link: link.state,
          alarms: [...this.#alarms.list],
          groups: this.#groups.map((group) => group.state),
        } satisfies WriterState;
      }
      const message = `${request.verb} is asked of the vault; this is the state of a replicator`;
      throw new Fault("USAGE", message, { verb: request.verb });
    };
  }

  /** Reads the configuration again at each SIGHUP, until disposed. */
  reloadAtHangup(link: ReplicatorLink): Disposable {
    let reading = Promise.resolve();
    return reloadAtHangup(() => {
      reading = reading.then(() => this.#reload(link));
    });
  }

  /** A configuration that is wrong changes nothing. */
  async #reload(link: ReplicatorLink): Promise<void> {
    let config: Config;
    try {
      config = await readConfig(this.#context.files, this.#path);
    } catch (error) {
      const fault = faultOf(error);
      if (fault === null) throw error;
      this.#log.note("error", "The configuration stays as it was.", faultFacts(fault));
      return;
    }
    const needs = restartNeeds(this.#config, config);
    this.#config = config;
    link.reload(config);
    for (const one of this.#groups) {
      const group = config.groups.find(({ name }) => name === one.name);
      if (group !== undefined) one.reload(config, group);
    }
    this.#log.note("info", "The configuration was read again.", { path: this.#path });
    if (needs.length === 0) return;
    this.#log.note("warn", "Some changes need a restart.", { keys: needs });
  }
}

import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { formatSeconds } from "../base/units.ts";
import type { Config } from "../cli/config-schema.ts";
import type { LinkState } from "../control/telemetry.ts";
import type { GroupName } from "../core/ids.ts";
import type { Link, LinkCaps } from "../transport/link.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { EventLog } from "./event-log.ts";
import { areSameCaps, type LinkPlan, linkPlan } from "./link-plan.ts";

/** A link that is down for so long is an alarm; one that a person must repair is one at once. */
const downAlarmSeconds = 60;

/** Caps by the hour, alarms and telemetry of the link of a replicator. */
export class ReplicatorLink {
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #log: EventLog;
  readonly #alarms: AlarmBook;
  #plan: LinkPlan;
  #caps: LinkCaps | null = null;

  constructor(options: {
    link: Link;
    clock: Clock;
    log: EventLog;
    alarms: AlarmBook;
    config: Config;
  }) {
    this.#link = options.link;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#alarms = options.alarms;
    this.#plan = linkPlan(options.config);
    this.applyCaps();
  }

  get state(): LinkState {
    const health = this.#link.health();
    return {
      address: this.#link.peer()?.address ?? "not reached yet",
      isUp: health.isUp,
      sinceSeconds: this.#sinceSeconds(),
      roundTripMs: health.roundTripMs,
      bytesPerSecond: health.bytesPerSecond,
      bytesPerSecondMax: this.#caps?.link ?? null,
      clock: health.clock === null ? null : { ...health.clock },
      sentBytes: health.sentBytes,
      receivedBytes: health.receivedBytes,
      resentBytes: health.resentBytes,
    };
  }

  /** The cap in force on what a group may send; null when there is none. */
  capOf(group: GroupName): number | null {
    const own = this.#caps?.groups.get(group) ?? null;
    const all = this.#caps?.link ?? null;
    if (own === null || all === null) return own ?? all;
    return Math.min(own, all);
  }

  /** From now on these caps and schedules hold. */
  reload(config: Config): void {
    this.#plan = linkPlan(config);
    this.applyCaps();
  }

  /** Puts the caps of this hour in force. */
  applyCaps(): void {
    const caps = this.#plan.capsAt(this.#clock.nowMs());
    if (this.#caps !== null && areSameCaps(this.#caps, caps)) return;
    this.#link.setCaps(caps);
    const isFirst = this.#caps === null;
    this.#caps = caps;
    if (isFirst && caps.link === null && caps.groups.size === 0) return;
    this.#log.note("info", "Caps of the link are in force.", {
      bytesPerSecondMax: caps.link,
      groups: Object.fromEntries(caps.groups),
    });
  }

  /** Puts the caps of the minute in force and looks whether the link is an alarm; called each second. */
  second(): void {
    this.applyCaps();
    const { isUp } = this.#link.health();
    if (isUp) {
      this.#alarms.clear("link");
      return;
    }
    const fault = this.#link.dialFault();
    const needsPerson = isFault(fault, "PEER_REFUSED", "NOT_ENROLLED", "LINK_VERSION");
    const downSeconds = this.#sinceSeconds();
    const severity = needsPerson || downSeconds >= downAlarmSeconds ? "alarm" : "warning";
    const reason = fault === null ? "no connection yet" : fault.message;
    const message = `the link to the vault is down for ${formatSeconds(downSeconds)}: ${reason}`;
    this.#alarms.raise("link", severity, new Fault(fault?.code ?? "LINK_LOST", message));
  }

  #sinceSeconds(): number {
    return Math.max(0, this.#clock.monotonicMs() - this.#link.health().sinceMs) / 1000;
  }
}

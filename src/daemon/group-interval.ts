import { isDeepStrictEqual } from "node:util";
import { type ConfigInterval, intervalOf } from "../cli/config-interval.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { GroupTelemetry } from "../control/telemetry.ts";
import {
  fixedInterval,
  type IntervalDecision,
  type IntervalFacts,
  type IntervalPolicy,
} from "../engine/interval.ts";
import {
  type AdaptiveInterval,
  adaptiveInterval,
  type IntervalChange,
} from "../engine/pace-interval.ts";

/** What an interval that follows a target asks and tells. */
export interface IntervalSurroundings {
  /** The cap in force on what the group may send; null when there is none. */
  readonly linkCapBytesPerSecond: () => number | null;
  /** What the link carries; null when that is not known. */
  readonly linkBytesPerSecond: () => number | null;
  readonly onChange: (change: IntervalChange) => void;
}

/** When a group's points are due, as the configuration that was read last says. */
export class GroupInterval implements IntervalPolicy {
  readonly #surroundings: IntervalSurroundings;
  #asked: ConfigInterval;
  #adaptive: AdaptiveInterval | null = null;
  #policy: IntervalPolicy;

  constructor(surroundings: IntervalSurroundings, config: Config, group: ConfigGroup) {
    this.#surroundings = surroundings;
    this.#asked = intervalOf(config, group);
    this.#policy = this.#make();
  }

  get targetRpoSeconds(): number | null {
    return this.#asked.kind === "target" ? this.#asked.targetRpoSeconds : null;
  }

  /** The interval in force, and why. */
  get inForce(): GroupTelemetry["interval"] {
    if (this.#asked.kind === "fixed") {
      return { seconds: this.#asked.intervalSeconds, reason: "the interval is configured" };
    }
    const { seconds, reason } = this.#adaptive?.inForce ?? { seconds: 0, reason: "" };
    return { seconds, reason };
  }

  /** Unique bytes that change in so many seconds, as learned; `nowMs` is monotonic. */
  uniqueBytesIn(seconds: number, nowMs: number): number {
    return this.#adaptive?.uniqueBytesIn(seconds, nowMs) ?? 0;
  }

  next(facts: IntervalFacts): IntervalDecision {
    return this.#policy.next(facts);
  }

  /** From the next decision on; what was learned for the same target is kept. */
  reload(config: Config, group: ConfigGroup): void {
    const asked = intervalOf(config, group);
    if (isDeepStrictEqual(asked, this.#asked)) return;
    this.#asked = asked;
    this.#policy = this.#make();
  }

  #make(): IntervalPolicy {
    if (this.#asked.kind === "fixed") {
      this.#adaptive = null;
      return fixedInterval(this.#asked.intervalSeconds);
    }
    const { targetRpoSeconds, intervalMinSeconds, intervalMaxSeconds } = this.#asked;
    const goal = { targetRpoSeconds, intervalMinSeconds, intervalMaxSeconds };
    this.#adaptive = adaptiveInterval({ ...goal, ...this.#surroundings });
    return this.#adaptive;
  }
}

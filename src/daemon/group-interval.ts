import { intervalOf } from "../cli/config-interval.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { GroupTelemetry } from "../control/telemetry.ts";
import {
  fixedInterval,
  type IntervalDecision,
  type IntervalFacts,
  type IntervalPolicy,
} from "../engine/interval.ts";

/** When a group's points are due, as the configuration that was read last says. */
export class GroupInterval implements IntervalPolicy {
  #policy: IntervalPolicy;
  #target: number | null;
  #inForce: GroupTelemetry["interval"];

  constructor(config: Config, group: ConfigGroup) {
    const { policy, target, inForce } = policyOf(config, group);
    this.#policy = policy;
    this.#target = target;
    this.#inForce = inForce;
  }

  get targetRpoSeconds(): number | null {
    return this.#target;
  }

  /** The interval in force, and why. */
  get inForce(): GroupTelemetry["interval"] {
    return this.#inForce;
  }

  next(facts: IntervalFacts): IntervalDecision {
    return this.#policy.next(facts);
  }

  /** From the next decision on; what was learned for the same target is kept. */
  reload(config: Config, group: ConfigGroup): void {
    const { policy, target, inForce } = policyOf(config, group);
    this.#policy = policy;
    this.#target = target;
    this.#inForce = inForce;
  }
}

function policyOf(config: Config, group: ConfigGroup) {
  const asked = intervalOf(config, group);
  const seconds = asked.kind === "fixed" ? asked.intervalSeconds : asked.intervalMinSeconds;
  return {
    policy: fixedInterval(seconds),
    target: asked.kind === "fixed" ? null : asked.targetRpoSeconds,
    inForce: { seconds, reason: "the interval is configured" },
  };
}

import type { Clock } from "../base/clock.ts";
import type { Fault } from "../base/fault.ts";
import type { Alarm } from "../control/telemetry.ts";

/** The alarms that stand, each under a key of its owner's; what is over is taken out, never left to fade. */
export class AlarmBook {
  readonly #clock: Clock;
  readonly #alarms = new Map<string, Alarm>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Alarms first, then warnings, the oldest first. */
  get list(): readonly Alarm[] {
    const weight = ({ severity }: Alarm) => (severity === "alarm" ? 0 : 1);
    return [...this.#alarms.values()].sort(
      (one, other) => weight(one) - weight(other) || one.sinceMs - other.sinceMs,
    );
  }

  /** Raises an alarm, or brings one up to date; since when it stands is kept. */
  raise(
    key: string,
    severity: Alarm["severity"],
    fault: Pick<Fault, "code" | "message" | "nextStep">,
    group: string | null = null,
  ): void {
    const { code, message: cause, nextStep } = fault;
    const before = this.#alarms.get(key);
    const isSame = before?.code === code && before.severity === severity;
    const sinceMs = isSame ? before.sinceMs : Math.floor(this.#clock.nowMs());
    this.#alarms.set(key, { code, severity, group, cause, nextStep, sinceMs });
  }

  clear(...keys: readonly string[]): void {
    for (const key of keys) this.#alarms.delete(key);
  }
}

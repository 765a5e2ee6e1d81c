import type { Clock } from "../base/clock.ts";
import { type Fault, isFault } from "../base/fault.ts";
import type { LinkEvent } from "../transport/link.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";

/** The same reason for not reaching the vault is told again after so long. */
const sameReasonEveryMs = 60_000;

/**
 * Tells what happens to the link. Every channel dials again and again while the vault is away: one reason is one line, and once a
 * minute how often it came back.
 */
export class LinkLog {
  readonly #log: EventLog;
  readonly #clock: Clock;
  #told: { readonly reason: string; readonly atMs: number } | null = null;
  #attempts = 0;

  constructor(log: EventLog, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  tell(event: LinkEvent): void {
    switch (event.kind) {
      case "link-up":
        this.#told = null;
        this.#attempts = 0;
        this.#log.note("info", "The link is up.", {
          vault: event.peer.id,
          address: event.peer.address,
        });
        return;
      case "link-down":
        this.#log.note("warn", "The link is down.", faultFacts(event.fault));
        return;
      case "dial-failed":
        this.#tellDial(event.fault, event.retryInMs);
        return;
      case "channel-closed":
        if (event.fault === null) return;
        this.#log.note("info", "A connection of the link ended.", {
          channel: event.channel,
          ...faultFacts(event.fault),
        });
        return;
      case "channel-open":
        return;
    }
  }

  #tellDial(fault: Fault, retryInMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    this.#attempts += 1;
    const reason = `${fault.code} ${fault.message}`;
    if (this.#told?.reason === reason && nowMs - this.#told.atMs < sameReasonEveryMs) return;
    this.#told = { reason, atMs: nowMs };
    const needsPerson = isFault(fault, "PEER_REFUSED", "NOT_ENROLLED", "LINK_VERSION");
    this.#log.note(needsPerson ? "error" : "warn", "The vault was not reached.", {
      ...faultFacts(fault),
      retrySeconds: retryInMs / 1000,
      attempts: this.#attempts,
    });
  }
}

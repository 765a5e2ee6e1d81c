import { Fault } from "../base/fault.ts";
import { formatSeconds } from "../base/units.ts";
import type { GroupName } from "../core/ids.ts";
import type { EngineEvent } from "../engine/events.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { LinkComplaint } from "./link-judge.ts";

/** A fault that was met so often in a row is no longer expected to pass by itself. */
const attemptsBorneMax = 5;

/** Which alarms of a group stand, from what its engine tells. */
export class GroupAlarms {
  readonly #group: GroupName;
  readonly #book: AlarmBook;

  constructor(group: GroupName, book: AlarmBook) {
    this.#group = group;
    this.#book = book;
  }

  follow(event: EngineEvent): void {
    switch (event.type) {
      case "cycle":
        this.#clear("trouble", "spool-full", "diverted", "stopped", "generation");
        if (event.report.via === "direct") this.#clear("shipping", "hole");
        // Such a point is sealed with the spool's state, and not without.
        else this.#clear("spool-state");
        return;
      case "current":
        this.#clear("trouble", "spool-full", "diverted", "stopped", "generation");
        return;
      case "shipped":
        this.#clear("shipping", "hole");
        return;
      case "retrying": {
        const severity = event.attempt > attemptsBorneMax ? "alarm" : "warning";
        this.#raise("trouble", severity, event.fault);
        return;
      }
      case "maintenance-failed":
        this.#raise("maintenance", "warning", event.fault);
        return;
      case "diverted":
        this.#raise("diverted", "warning", event.fault);
        return;
      case "stale":
        this.#raise("generation", "alarm", event.fault);
        return;
      case "spool-full":
        this.#raise("spool-full", "alarm", event.fault);
        return;
      case "shipping-delayed":
        this.#raise("shipping", "warning", event.fault);
        return;
      case "shipping-stopped":
        this.#raise("shipping", "alarm", event.fault);
        return;
      case "spool-state-behind":
        this.#raise("spool-state", "warning", event.fault);
        return;
      case "hole": {
        const { points, fromSequence, toSequence, reason } = event;
        const message = `${points} points, #${fromSequence} to #${toSequence}, were lost from the spool: ${reason}`;
        this.#raise("hole", "warning", new Fault("SPOOL_CORRUPT", message));
        return;
      }
      case "clock-skew": {
        if (event.isWithinBound) {
          this.#clear("clock");
          return;
        }
        const { offsetMs, errorMs, offsetMaxMs } = event;
        const message = `the vault's clock is ${offsetMs} ms (± ${errorMs} ms) from ours, at most ${offsetMaxMs} ms`;
        this.#raise("clock", "alarm", new Fault("CLOCK_SKEW", message));
        return;
      }
      default:
        return;
    }
  }

  /** The group stopped for good. */
  stopped(fault: Fault): void {
    this.#clear("trouble");
    this.#raise("stopped", "alarm", fault);
  }

  /** Looks whether the target holds. */
  target(rpoSeconds: number | null, targetRpoSeconds: number | null): void {
    const isMissed =
      rpoSeconds !== null && targetRpoSeconds !== null && rpoSeconds > targetRpoSeconds;
    if (!isMissed) {
      this.#clear("target");
      return;
    }
    const message = `the newest point at the vault is ${formatSeconds(rpoSeconds)} old, the target is ${formatSeconds(targetRpoSeconds)}`;
    this.#raise("target", "alarm", new Fault("TARGET_MISSED", message));
  }

  /** What is to be said of the link; null when it is enough. */
  link(complaint: LinkComplaint | null): void {
    if (complaint === null) this.#clear("link");
    else this.#raise("link", complaint.severity, complaint.fault);
  }

  /** Raises the group's own alarm of that kind. */
  #raise(kind: string, severity: "alarm" | "warning", fault: Fault): void {
    this.#book.raise(`${this.#group}/${kind}`, severity, fault, this.#group);
  }

  #clear(...kinds: readonly string[]): void {
    this.#book.clear(...kinds.map((kind) => `${this.#group}/${kind}`));
  }
}

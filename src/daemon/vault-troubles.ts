import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import type { Alarm } from "../control/telemetry.ts";
import type { Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import type { EventLog } from "./event-log.ts";

/** How long a replicator that may not write and asked to is told of. */
const rivalShownMs = 300_000;
/** How often a fault of one kind is written down. */
const faultsApartMs = 60_000;

/** What keeps the vault itself from taking points; whatever else fails is the peer's to tell. */
const vaultFaults: ReadonlySet<FaultCode> = new Set<FaultCode>([
  "STORAGE_FULL",
  "STORAGE_DENIED",
  "STORAGE_FAILED",
  "STORAGE_MISSING",
  "LEDGER_CORRUPT",
  "BASE_CORRUPT",
  "DELTA_MISSING",
]);

/** Something that is wrong, and since when. */
interface StandingFault {
  readonly fault: Fault;
  readonly sinceMs: number;
}

/** What is wrong with a group that a vault keeps for others: raised, written down once, and taken back when it is over. */
export class GroupTroubles {
  readonly #name: GroupName;
  readonly #clock: Clock;
  readonly #log: Pick<EventLog, "note">;
  readonly #clockOffsetMaxMs: number;
  #isSkewed: boolean;
  #silentSinceMs: number | null = null;
  /** Why the vault could not take what came last, until it takes something. */
  #storage: StandingFault | null = null;
  /** `lastAtMs`: on the monotonic clock. */
  #rival: (StandingFault & { readonly lastAtMs: number }) | null = null;
  /** When a fault of a kind was written down last, on the monotonic clock. */
  readonly #notedAtMs = new Map<FaultCode, number>();

  constructor(options: {
    name: GroupName;
    clock: Clock;
    log: Pick<EventLog, "note">;
    clockOffsetMaxMs: number;
    /** As the last life left it: what was wrong then was written down then. */
    head: Point | null;
  }) {
    this.#name = options.name;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#clockOffsetMaxMs = options.clockOffsetMaxMs;
    this.#isSkewed = options.head !== null && this.#skewOf(options.head) !== null;
  }

  /** Since when nothing came, while that is an alarm. */
  get silentSinceMs(): number | null {
    return this.#silentSinceMs;
  }

  /** The source has fallen silent; `peer` is who is connected all the same. */
  isSilent(sinceMs: number, peer: Peer | null): void {
    this.#silentSinceMs = sinceMs;
    this.#note("error", "The source of a group is silent.", this.#silentFault(sinceMs, peer));
  }

  /** The source speaks again. */
  speaks(): void {
    this.#silentSinceMs = null;
    this.#log.note("info", "The source speaks again.", { group: this.#name });
  }

  /** Something came and was kept. */
  tookSomething(): void {
    this.#storage = null;
  }

  sealed(point: Point): void {
    const skew = this.#skewOf(point);
    if (skew !== null && !this.#isSkewed) {
      this.#note("error", "The clocks of the two sites differ too much.", skew);
    }
    this.#isSkewed = skew !== null;
  }

  /**
   * Something that a peer asked for was refused or failed. Each kind is written down once a minute at most: whoever asks again and
   * again is answered all the same.
   */
  failed(fault: Fault): void {
    const { code } = fault;
    if (code === "LINK_RESET") return;
    const isOurs = vaultFaults.has(code);
    const wallMs = Math.floor(this.#clock.nowMs());
    const nowMs = this.#clock.monotonicMs();
    if (isOurs) this.#storage = { fault, sinceMs: this.#storage?.sinceMs ?? wallMs };
    if (isFault(fault, "GENERATION_CONFLICT", "GENERATION_STALE")) {
      const sinceMs = this.#rivalNow()?.sinceMs ?? wallMs;
      this.#rival = { fault, sinceMs, lastAtMs: nowMs };
    }
    if (nowMs - (this.#notedAtMs.get(code) ?? Number.NEGATIVE_INFINITY) < faultsApartMs) return;
    this.#notedAtMs.set(code, nowMs);
    const message = "What a replicator asked for was refused or failed.";
    this.#note(isOurs ? "error" : "warn", message, fault);
  }

  /** What a person should act on, the worst first. */
  alarms({ peer, head }: { readonly peer: Peer | null; readonly head: Point | null }) {
    const found: StandingFault[] = [];
    const sinceMs = this.#silentSinceMs;
    if (sinceMs !== null) found.push({ fault: this.#silentFault(sinceMs, peer), sinceMs });
    if (this.#storage !== null) found.push(this.#storage);
    const skew = head === null ? null : this.#skewOf(head);
    if (head !== null && skew !== null) found.push({ fault: skew, sinceMs: head.sealedAtMs });
    const rival = this.#rivalNow();
    return [
      ...found.map((one) => this.#alarmOf("alarm", one)),
      ...(rival === null ? [] : [this.#alarmOf("warning", rival)]),
    ];
  }

  /** Somebody who does not hold the group asks to write, or did so just now. */
  #rivalNow(): StandingFault | null {
    const rival = this.#rival;
    if (rival === null || this.#clock.monotonicMs() - rival.lastAtMs < rivalShownMs) return rival;
    this.#rival = null;
    return null;
  }

  #alarmOf(severity: Alarm["severity"], { fault, sinceMs }: StandingFault): Alarm {
    const { code, message: cause, nextStep } = fault;
    return { code, severity, group: this.#name, cause, nextStep, sinceMs };
  }

  #note(level: "warn" | "error", message: string, fault: Fault): void {
    const { code, message: cause, nextStep, details } = fault;
    this.#log.note(level, message, { ...details, group: this.#name, code, cause, nextStep });
  }

  #silentFault(sinceMs: number, peer: Peer | null): Fault {
    const since = new Date(sinceMs).toISOString();
    const why =
      peer === null ? "nobody is connected" : `${peer.name} is connected and sends no points`;
    const message = `${this.#name}: the source is silent since ${since}: ${why}`;
    return new Fault("SOURCE_SILENT", message, { group: this.#name, sinceMs });
  }

  #skewOf({ clock }: Point): Fault | null {
    if (clock === null) return null;
    const differMs = Math.abs(clock.offsetMs) + clock.errorMs;
    if (differMs <= this.#clockOffsetMaxMs) return null;
    const offset = `${clock.offsetMs} ms, give or take ${clock.errorMs} ms`;
    const message = `${this.#name}: this clock and the source's differ by ${offset}`;
    return new Fault("CLOCK_SKEW", message, { group: this.#name, ...clock });
  }
}

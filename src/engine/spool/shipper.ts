import type { Clock } from "../../base/clock.ts";
import { type Fault, isFault } from "../../base/fault.ts";
import type { JournalIntake } from "../../core/journal.ts";
import type { LinkHealth } from "../../core/link.ts";
import type { Point } from "../../core/point.ts";
import { faultOf } from "../fault-of.ts";
import { wasHandedBack } from "../generation.ts";
import { isLinkFault } from "../link-faults.ts";
import { shipPoint } from "./ship-point.ts";
import type { SpoolGroup } from "./spool-group.ts";
import type { SpooledPoint } from "./spool-state.ts";

/** A link that is down is looked at so often. */
const linkLookMs = 200;
const delayMinMs = 250;
const delayMaxMs = 10_000;
/** A medium that fails to read a point may do better later; so often it is tried before the point counts as lost. */
const readAttemptsMax = 6;

/** What shipping needs of the intake that it ships for. */
export interface ShipperOptions {
  readonly group: SpoolGroup;
  readonly link: JournalIntake;
  readonly health: () => LinkHealth;
  readonly clock: Clock;
  /** Ours. */
  readonly holder: string;
  /** Asks the vault how the group stands and puts the spool in accord. */
  readonly reconcile: () => Promise<void>;
  /** No direct point is being written, or given up, when it resolves. */
  readonly untilLinkIsFree: () => Promise<void>;
  readonly onShipped: (shipped: Shipped) => Promise<void>;
  readonly onDelayed: (fault: Fault, delayMs: number) => void;
  /** Another holds the group. */
  readonly onStopped: (fault: Fault) => void;
  readonly onLost: (point: SpooledPoint, reason: string) => Promise<void>;
}

/** A point that the vault acknowledged. */
export interface Shipped {
  readonly spooled: SpooledPoint;
  readonly point: Point;
  readonly durationMs: number;
}

/**
 * Ships what waits in the spool, in order, while the source cuts on.
 *
 *   idle ──a point waits, the link is up──▶ asking ──▶ shipping ──▶ acknowledged ─┐
 *    ▲                                        ▲            │                       │
 *    │                                        └── delayed ◀┘ any fault             │
 *    └────────────────────────────────────────────────────────────────────────────┘
 *   another holds the group ─▶ stopped ──`goOn`─▶ asking
 */
export class Shipper {
  readonly #options: ShipperOptions;
  #mustAsk = true;
  #attempts = 0;
  #refused: SpooledPoint["id"] | null = null;
  #isStopped = false;
  #wake = Promise.withResolvers<void>();

  constructor(options: ShipperOptions) {
    this.#options = options;
  }

  /** Something may be there to ship. */
  wake(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  /** The group is ours, as the vault has just said. */
  goOn(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.#mustAsk = true;
    this.wake();
  }

  /** The vault must be asked before anything more is shipped. */
  askAgain(): void {
    this.#mustAsk = true;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { group, health } = this.#options;
    this.#isStopped = false;
    while (!signal.aborted) {
      const woken = this.#wake.promise;
      const next = group.state.points[0];
      if (next === undefined || this.#isStopped) await this.#sleepUntil(woken, signal);
      else if (!health().isUp) await this.#sleep(linkLookMs, signal);
      else await this.#step(next, signal);
    }
  }

  async #step(next: SpooledPoint, signal: AbortSignal): Promise<void> {
    const { group, link, clock } = this.#options;
    try {
      await this.#options.untilLinkIsFree();
      if (this.#mustAsk) {
        await this.#options.reconcile();
        this.#mustAsk = false;
        return;
      }
      const startedAtMs = clock.monotonicMs();
      const point = await shipPoint({ group, point: next, link, signal });
      this.#attempts = 0;
      const durationMs = clock.monotonicMs() - startedAtMs;
      await this.#options.onShipped({ spooled: next, point, durationMs });
    } catch (error) {
      if (signal.aborted) return;
      await this.#bear(error, next, signal);
    }
  }

  async #bear(error: unknown, next: SpooledPoint, signal: AbortSignal): Promise<void> {
    const fault = faultOf(error);
    if (fault === null) throw error;
    if (isFault(error, "GENERATION_STALE", "GENERATION_CONFLICT")) {
      this.#mustAsk = true;
      if (!wasHandedBack(error, this.#options.holder)) {
        this.#isStopped = true;
        return this.#options.onStopped(error);
      }
      // Ours under a later number: the vault says what becomes of points that were cut under the older.
      return this.#sleep(delayMinMs, signal);
    }
    const mayRead = isFault(fault.cause, "STORAGE_FAILED") && this.#attempts + 1 < readAttemptsMax;
    if (fault.code === "SPOOL_CORRUPT" && !mayRead) {
      this.#attempts = 0;
      return this.#options.onLost(next, fault.message);
    }
    const wasAsked = !this.#mustAsk;
    this.#mustAsk = true;
    if (fault.code === "SEAL_REFUSED") {
      // Refused although the vault's head is what it goes on from, and was just asked for: it never will be taken.
      if (this.#refused === next.id && wasAsked) return this.#options.onLost(next, fault.message);
      this.#refused = next.id;
      return;
    }
    this.#attempts += 1;
    const delayMs = Math.min(delayMaxMs, delayMinMs * 2 ** Math.min(this.#attempts - 1, 16));
    if (!isLinkFault(fault) || this.#attempts > 1) this.#options.onDelayed(fault, delayMs);
    await this.#sleep(delayMs, signal);
  }

  async #sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    await this.#options.clock.sleep(durationMs, { signal }).catch(() => {});
  }

  /** Until `woken`; nothing changes without it. */
  async #sleepUntil(woken: Promise<void>, signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    if (!signal.aborted) await Promise.race([woken, aborted.promise]);
    signal.removeEventListener("abort", onAbort);
  }
}

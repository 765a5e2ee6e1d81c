import type { Clock } from "../base/clock.ts";
import type { PointId } from "../core/ids.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import type { Group } from "./group.ts";
import { named } from "./group-state.ts";

/** How often confirmations of one point go to the ledger: each costs a record and a sync. */
export const confirmationsApartMs = 60_000;

/**
 * What is known of how long the head has stayed current: in memory at once, in the ledger now and then and before anything
 * follows the head.
 */
export class Confirmations {
  readonly #group: Group;
  readonly #clock: Clock;
  #recordedAtMs = Number.NEGATIVE_INFINITY;

  constructor(group: Group, clock: Clock) {
    this.#group = group;
    this.#clock = clock;
  }

  /** Takes a confirmation; one of a point that is not the head, or older than what is known, is ignored. Whether it was taken. */
  take(point: PointId, atMs: number): boolean {
    const head = this.#group.head();
    const isNews =
      head !== null &&
      head.id === point &&
      Number.isSafeInteger(atMs) &&
      atMs > (head.currentAtMs ?? head.instant.lowerMs);
    if (isNews) this.#group.confirmed = { point, atMs };
    return isNews;
  }

  /** Whether the last record is long enough ago for another. */
  get isDue(): boolean {
    return this.#clock.monotonicMs() - this.#recordedAtMs >= confirmationsApartMs;
  }

  /** The record that the ledger lacks: none when it has the newest confirmation. */
  owed(): readonly LedgerEntry[] {
    const { confirmed, state } = this.#group;
    const { head } = state;
    if (confirmed === null || head?.facts.id !== confirmed.point) return [];
    if (head.currentAtMs !== null && head.currentAtMs >= confirmed.atMs) return [];
    const { facts, contentRoot } = head;
    const point = named({ id: facts.id, sequence: facts.sequence, contentRoot });
    return [{ kind: "point-current", body: { point, atMs: confirmed.atMs } }];
  }

  /** What was owed is being written. */
  recorded(): void {
    this.#recordedAtMs = this.#clock.monotonicMs();
  }
}

import type { Clock } from "../base/clock.ts";
import { isFault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import type { GuestWrites, Source } from "../core/source.ts";
import { GuestLatency } from "./pace-latency.ts";
import type { Pace } from "./read-pace.ts";

//            guests' writes slower than allowed: half the rate
//   ┌────────┐ ─────────────────────────────▶ ┌───────────┐ ◀─┐ still: half again, never below the floor
//   │ at will│                                │ held back │ ──┘
//   └────────┘ ◀───────────────────────────── └───────────┘ ◀─┐ not any more: a step faster
//            faster than ever was read          └─────────────┘

/** However slow guests' writes are, reading goes on at this rate: a point that is never read through helps nobody. */
export const readFloorBytesPerSecond = 4 * MIB;
/** While reads are let through, what guests' writes cost is asked for so often. */
export const lookEveryMs = 500;
/** A rate that was halved comes back in so many steps, one for each look. */
const recoverySteps = 20;
/** Reads are held for one look when nobody knows what writes cost without them, and then once in so long. */
const calmLookEveryMs = 60_000;

/** What the guests' writes cost now, and what that does to reading. */
export interface ReadsOutlook {
  /** Null: reading goes as fast as it is allowed to. */
  readonly heldToBytesPerSecond: number | null;
  /** Mean of a write while we read, at the last look; null when it was not told. */
  readonly latencyMs: number | null;
  /** Mean of a write while we do not; null before that was seen. */
  readonly baselineMs: number | null;
}

/** Holds reads to caps and to what guests bear. */
export interface PacedReads extends Pace {
  readonly outlook: ReadsOutlook;
}

export interface PacedReadsOptions {
  readonly clock: Clock;
  /** Null: guests are not asked, only the caps hold. */
  readonly source: Pick<Source, "guestWrites"> | null;
  readonly bytesPerSecondMax: number | null;
  readonly operationsPerSecondMax: number | null;
  /** Mean of a guest's write beyond which reading slows down; null: several times what it is without us. */
  readonly guestWriteLatencyMaxMs: number | null;
  /** Reading is held back further, less, or no more. */
  readonly onChange?: (outlook: ReadsOutlook) => void;
}

/** Makes the pace of one group's reads. */
export function pacedReads(options: PacedReadsOptions): PacedReads {
  return new GuestKindPace(options);
}

class GuestKindPace implements PacedReads {
  readonly #options: PacedReadsOptions;
  readonly #latency: GuestLatency;
  #heldTo: number | null = null;
  #fastest = 0;
  #bytesFreeAtMs: number;
  #operationFreeAtMs: number;
  #admittedBytes = 0;
  #lastAdmitAtMs: number;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #calmAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | null = null;

  constructor(options: PacedReadsOptions) {
    const nowMs = options.clock.monotonicMs();
    this.#options = options;
    this.#latency = new GuestLatency(options.guestWriteLatencyMaxMs);
    this.#bytesFreeAtMs = nowMs;
    this.#operationFreeAtMs = nowMs;
    this.#lastAdmitAtMs = nowMs;
  }

  get outlook(): ReadsOutlook {
    const { latencyMs, baselineMs } = this.#latency;
    return { heldToBytesPerSecond: this.#heldTo, latencyMs, baselineMs };
  }

  async admit(lengthBytes: number, signal: AbortSignal): Promise<void> {
    await this.#look(signal);
    const { clock, bytesPerSecondMax, operationsPerSecondMax } = this.#options;
    const nowMs = clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#bytesFreeAtMs, this.#operationFreeAtMs);
    const bytesPerSecond = least(bytesPerSecondMax, this.#heldTo);
    this.#bytesFreeAtMs =
      startMs + (bytesPerSecond === null ? 0 : (lengthBytes / bytesPerSecond) * 1000);
    this.#operationFreeAtMs =
      startMs + (operationsPerSecondMax === null ? 0 : 1000 / operationsPerSecondMax);
    this.#admittedBytes += lengthBytes;
    this.#lastAdmitAtMs = startMs;
    if (startMs > nowMs) await clock.sleep(startMs - nowMs, { signal });
  }

  /** Looks at the guests when it is time to; who comes while that is under way waits for it. */
  async #look(signal: AbortSignal): Promise<void> {
    const { clock, source } = this.#options;
    if (source === null) return;
    if (this.#looking !== null) {
      await this.#looking.catch(() => {}); // Told to whoever began it.
      return signal.throwIfAborted();
    }
    if (clock.monotonicMs() - this.#lookedAtMs < lookEveryMs) return;
    this.#looking = this.#lookAtGuests(source, signal).finally(() => {
      this.#looking = null;
    });
    await this.#looking;
  }

  async #lookAtGuests(source: Pick<Source, "guestWrites">, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const before = this.#lookedAtMs;
    const nowMs = clock.monotonicMs();
    const writes = await guestWrites(source, signal);
    const stretchMs = nowMs - before;
    const quietMs = nowMs - this.#lastAdmitAtMs;
    const isReading = quietMs < 0.2 * stretchMs;
    const readBytes = this.#admittedBytes;
    this.#admittedBytes = 0;
    this.#lookedAtMs = nowMs;
    if (!isReading) this.#calmAtMs = nowMs;
    const isSlow = this.#latency.add(writes, isReading);
    if (!isReading || isSlow === null) return;
    this.#adjust(isSlow, (readBytes / stretchMs) * 1000);
    if (nowMs - this.#calmAtMs >= calmLookEveryMs) await this.#lookInCalm(source, signal);
  }

  /** Holds all reads for one look, to see what writes cost without them. */
  async #lookInCalm(source: Pick<Source, "guestWrites">, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await clock.sleep(lookEveryMs, { signal });
    this.#latency.add(await guestWrites(source, signal), false);
    this.#lookedAtMs = clock.monotonicMs();
    this.#calmAtMs = this.#lookedAtMs;
  }

  #adjust(isSlow: boolean, readBytesPerSecond: number): void {
    const before = this.#heldTo;
    if (isSlow) {
      if (before === null) this.#fastest = Math.max(readBytesPerSecond, readFloorBytesPerSecond);
      const rate = Math.min(before ?? readBytesPerSecond, readBytesPerSecond) / 2;
      this.#heldTo = Math.max(readFloorBytesPerSecond, rate);
    } else if (before !== null) {
      const next = before + this.#fastest / recoverySteps;
      this.#heldTo = next > this.#fastest ? null : next;
    }
    if (this.#heldTo !== before) this.#options.onChange?.(this.outlook);
  }
}

/** Null when it cannot be had: reading goes on, held to the caps alone. */
async function guestWrites(
  source: Pick<Source, "guestWrites">,
  signal: AbortSignal,
): Promise<GuestWrites | null> {
  try {
    return await source.guestWrites({ signal });
  } catch (error) {
    if (!isFault(error) || signal.aborted) throw error;
    return null;
  }
}

function least(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other;
  return Math.min(one, other);
}

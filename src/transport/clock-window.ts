import type { ClockComparison } from "../core/clock-comparison.ts";

/** One ping and its answer. Wall clocks in whole milliseconds; `roundTripMs` and `atMs` on the sender's monotonic clock. */
export interface PingSample {
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
  readonly answeredAtMs: number;
  readonly roundTripMs: number;
  readonly atMs: number;
}

interface Measurement {
  readonly offsetMs: number;
  readonly errorMs: number;
  readonly roundTripMs: number;
  readonly atMs: number;
}

/** Measurements that are remembered; a ping each 5 s makes this two minutes. */
const samplesMax = 24;
/** Two clocks, each held by NTP within its largest slew of 500 ppm (RFC 5905, section 11.3), part by so much at most. */
const driftPartsPerMillion = 1000;

/**
 * What pings say about the other site's clock, as NTP works it out (RFC 5905, section 8): of the last ones the one that
 * bounds the offset best now, each growing worse with its age. One that contradicts a newer one (a clock jumped) is forgotten.
 */
export class ClockWindow {
  #measurements: Measurement[] = [];

  add(sample: PingSample): void {
    const { sentAtMs, receivedAtMs, answeredAtMs, atMs } = sample;
    const awayMs = Math.max(0, answeredAtMs - receivedAtMs);
    const travelMs = Math.max(0, sample.roundTripMs - awayMs);
    // The sender's wall clock at the answer is the one at sending plus what passed: a jump between the two does no harm.
    const arrivedAtMs = sentAtMs + sample.roundTripMs;
    const offsetMs = (receivedAtMs - sentAtMs + (answeredAtMs - arrivedAtMs)) / 2;
    // Each wall clock is read in whole milliseconds.
    const newest = { offsetMs, errorMs: travelMs / 2 + 1, roundTripMs: sample.roundTripMs, atMs };
    const kept = this.#measurements.filter((at) => agree(at, newest, atMs));
    this.#measurements = [...kept.slice(1 - samplesMax), newest];
  }

  /** The smallest round trip of late; null before the first answer. */
  get roundTripMs(): number | null {
    if (this.#measurements.length === 0) return null;
    return Math.min(...this.#measurements.map((at) => at.roundTripMs));
  }

  /** The best bound at `nowMs`, or null before the first answer. */
  comparison(nowMs: number): ClockComparison | null {
    let best: Measurement | null = null;
    for (const at of this.#measurements) {
      if (best === null || errorAt(at, nowMs) < errorAt(best, nowMs)) best = at;
    }
    if (best === null) return null;
    const offsetMs = Math.round(best.offsetMs) + 0;
    return { offsetMs, errorMs: Math.max(1, Math.ceil(errorAt(best, nowMs) + 0.5)) };
  }
}

function errorAt(measurement: Measurement, nowMs: number): number {
  const ageMs = Math.max(0, nowMs - measurement.atMs);
  return measurement.errorMs + (ageMs * driftPartsPerMillion) / 1e6;
}

function agree(left: Measurement, right: Measurement, nowMs: number): boolean {
  return Math.abs(left.offsetMs - right.offsetMs) <= errorAt(left, nowMs) + errorAt(right, nowMs);
}

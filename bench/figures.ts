import assert from "node:assert/strict";

/** One number of ours beside the peer's. `ratio` is written so that larger is better. */
export interface Figure {
  readonly ours: number;
  readonly peer: number;
  readonly unit: string;
  /** ours ÷ peer for throughput; peer ÷ ours for time, memory and bytes. */
  readonly ratio: number;
  /** What `ratio` has to reach; null for a figure that is only reported. */
  readonly bar: number | null;
  readonly ok: boolean;
}

/** What a bench says with --json, as its last line. */
export interface BenchResult {
  readonly bench: string;
  /** What we are measured against, as a person would name it. */
  readonly peer: string;
  readonly figures: Readonly<Record<string, Figure>>;
  readonly ok: boolean;
}

/** The middle value; of an even count the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  assert(values.length > 0, "a median needs a value");
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** How far values lie apart: (largest − smallest) ÷ median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/** A figure from the medians of what was measured. `better` says which way the unit points. */
export function figure(options: {
  readonly ours: number | readonly number[];
  readonly peer: number | readonly number[];
  readonly unit: string;
  readonly better: "larger" | "smaller";
  readonly bar: number | null;
}): Figure {
  const ours = middleOf(options.ours);
  const peer = middleOf(options.peer);
  const ratio = options.better === "larger" ? ours / peer : peer / ours;
  const { unit, bar } = options;
  return {
    ours: round(ours),
    peer: round(peer),
    unit,
    ratio: round(ratio),
    bar,
    ok: bar === null || ratio >= bar,
  };
}

/** A figure with an absolute bound instead of a peer: `peer` is the limit, the bar is 1. */
export function limitFigure(options: {
  readonly ours: number | readonly number[];
  readonly limit: number;
  readonly unit: string;
}): Figure {
  const { ours, limit, unit } = options;
  return figure({ ours, peer: limit, unit, better: "smaller", bar: 1 });
}

/** The result of a bench: ok when every figure is. */
export function benchResult(
  bench: string,
  peer: string,
  figures: Readonly<Record<string, Figure>>,
): BenchResult {
  return { bench, peer, figures, ok: Object.values(figures).every((one) => one.ok) };
}

function middleOf(value: number | readonly number[]): number {
  return typeof value === "number" ? value : median(value);
}

/** Four significant digits: more would pretend. */
function round(value: number): number {
  return Number(value.toPrecision(4));
}

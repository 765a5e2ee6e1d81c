import assert from "node:assert/strict";
import { type BenchResult, spread } from "./figures.ts";

/** What every bench takes. */
export interface BenchOptions {
  readonly json: boolean;
}

/** What one run measured, by name: { throughput: 2100, rss: 83 }. */
export type Sample<Name extends string> = Readonly<Record<Name, number>>;

/** Every run of a series, by name, in the order they were taken. */
export interface PairRuns<Name extends string> {
  readonly ours: Readonly<Record<Name, readonly number[]>>;
  readonly peer: Readonly<Record<Name, readonly number[]>>;
}

/** Fewer pairs than this say nothing. */
export const pairsMin = 5;
/** How often a series with an unsteady peer is taken again before it is reported as it is. */
const repeatsMax = 3;

/**
 * Runs ours and the peer in turns, so that what changes on the machine meets both; who goes first changes with each pair.
 * One pair before the first is thrown away. `steady`: when the peer's values of that name spread further than `spreadMax`,
 * the whole series is taken again.
 */
export async function runPairs<Name extends string>(options: {
  readonly name?: string;
  readonly pairs?: number;
  readonly ours: () => Promise<Sample<Name>>;
  readonly peer: () => Promise<Sample<Name>>;
  readonly steady?: { readonly by: Name; readonly spreadMax: number };
}): Promise<PairRuns<Name>> {
  const { name = "bench", pairs = pairsMin, steady } = options;
  assert(pairs >= pairsMin, `a bench takes at least ${pairsMin} pairs`);
  for (let attempt = 1; ; attempt += 1) {
    const runs = await runSeries({ ...options, name, pairs });
    if (steady === undefined) return runs;
    const found = spread(runs.peer[steady.by]);
    if (found <= steady.spreadMax || attempt >= repeatsMax) return runs;
    progress(`${name}: the peer's ${steady.by} spreads by ${percent(found)}; once more`);
  }
}

async function runSeries<Name extends string>(options: {
  readonly name: string;
  readonly pairs: number;
  readonly ours: () => Promise<Sample<Name>>;
  readonly peer: () => Promise<Sample<Name>>;
}): Promise<PairRuns<Name>> {
  const ours: Sample<Name>[] = [];
  const peer: Sample<Name>[] = [];
  for (let pair = 0; pair <= options.pairs; pair += 1) {
    const isWarmUp = pair === 0;
    progress(`${options.name}: ${isWarmUp ? "warm-up" : `pair ${pair} of ${options.pairs}`}`);
    const turns = [
      async () => ours.push(await options.ours()),
      async () => peer.push(await options.peer()),
    ];
    if (pair % 2 === 1) turns.reverse();
    for (const turn of turns) await turn();
  }
  return { ours: byName(ours.slice(1)), peer: byName(peer.slice(1)) };
}

function byName<Name extends string>(samples: readonly Sample<Name>[]): PairRuns<Name>["ours"] {
  const columns: Record<string, readonly number[]> = {};
  for (const name in samples[0]) columns[name] = samples.map((sample) => sample[name]);
  return columns as PairRuns<Name>["ours"];
}

/** A line for a person who waits, on stderr. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** "12 %": a share for people. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** The table of a result, for people. */
export function formatResult(result: BenchResult): string {
  const rows = Object.entries(result.figures).map(([name, one]) => [
    name,
    `${one.ours} ${one.unit}`,
    `${one.peer} ${one.unit}`,
    String(one.ratio),
    one.bar === null ? "" : `>= ${one.bar}`,
    one.bar === null ? "" : one.ok ? "ok" : "SHORT",
  ]);
  const head = ["", "ours", "peer", "ratio", "bar", ""];
  const widths = head.map((cell, index) =>
    Math.max(cell.length, ...rows.map((row) => row[index]!.length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, index) => (index === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[index]!)))
      .join("  ")
      .trimEnd();
  return [`${result.bench}, beside ${result.peer}`, line(head), ...rows.map(line)].join("\n");
}

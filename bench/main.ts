import assert from "node:assert/strict";
import type { BenchResult } from "./figures.ts";
import { type BenchOptions, formatResult, progress } from "./harness.ts";
import { describeMachine } from "./machine.ts";

// `npm run bench -- NAME [--json]`: exit code 0 when every figure reaches its bar, 1 when one falls short, 2 for wrong usage.

type Bench = (options: BenchOptions) => Promise<BenchResult>;

/** Each is `bench/NAME.ts`, which exports an async function of its own name. */
const names = [
  "pull",
  "cycle",
  "scale",
  "ingest",
  "view",
  "compress",
  "guest",
  "rpo",
  "interval",
  "ship",
  "wan",
];

async function load(name: string): Promise<Bench> {
  const module: Readonly<Record<string, Bench>> = await import(`./${name}.ts`);
  const bench = module[name];
  assert(bench !== undefined, `bench/${name}.ts exports ${name}`);
  return bench;
}

async function main(words: readonly string[]): Promise<number> {
  const json = words.includes("--json");
  const [name, ...rest] = words.filter((word) => word !== "--json");
  if (name === undefined || !names.includes(name) || rest.length > 0) {
    process.stderr.write(`usage: npm run bench -- ${names.join("|")} [--json]\n`);
    return 2;
  }
  const bench = await load(name);
  progress(describeMachine());
  const result = await bench({ json });
  process.stdout.write(`${describeMachine()}\n${formatResult(result)}\n`);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  return result.ok ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));

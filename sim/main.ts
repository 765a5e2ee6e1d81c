import { parseArgs } from "node:util";
import { directoryVaultUnderTest } from "./directory-vault.ts";
import { runWorld } from "./world.ts";

const { values } = parseArgs({
  options: { seed: { type: "string" }, seeds: { type: "string" }, from: { type: "string" } },
});

const first = Number(values.seed ?? values.from ?? 1);
const count = values.seed === undefined ? Number(values.seeds ?? 200) : 1;
let failed = 0;
let points = 0;
let steps = 0;
const startedAtMs = performance.now();
for (let seed = first; seed < first + count; seed += 1) {
  const result = await runWorld({ seed, vault: directoryVaultUnderTest });
  points += result.points;
  steps += result.steps;
  if (count === 1) console.log(result.trace.join("\n"));
  if (result.failure) {
    failed += 1;
    console.log(`seed ${seed}: ${count === 1 ? result.failure.stack : result.failure.message}`);
  }
}
const seconds = (performance.now() - startedAtMs) / 1000;
console.log(
  `${count} worlds, ${points} points, ${steps} calls, ${failed} failed, ${seconds.toFixed(1)} s`,
);
process.exitCode = failed > 0 ? 1 : 0;

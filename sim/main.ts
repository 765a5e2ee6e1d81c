import { parseArgs } from "node:util";
import { directoryVaultUnderTest } from "./directory-vault.ts";
import { hunt } from "./hunt.ts";
import { mutants } from "./mutants.ts";
import { story } from "./story.ts";
import { runWorld } from "./world.ts";

const usage = `Runs the engine and the journal in virtual worlds, each drawn from its seed.

  npm run sim -- --seed 123          one world, with its trace
  npm run sim -- --seeds 1000        that many worlds, from 1 or --from on
  npm run sim -- --mutants           whether each mutant is caught within 200 worlds
  npm run sim -- --mutant base       only those whose name has it
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    from: { type: "string" },
    mutants: { type: "boolean" },
    mutant: { type: "string" },
    help: { type: "boolean" },
  },
});

if (values.help) process.stdout.write(usage);
else if (values.mutants || values.mutant) await huntAll(values.mutant ?? "");
else if (values.seed !== undefined) await replay(Number(values.seed));
else await runMany(Number(values.from ?? 1), Number(values.seeds ?? 200));

async function replay(seed: number): Promise<void> {
  const result = await runWorld({ seed, vault: directoryVaultUnderTest });
  console.log(result.trace.join("\n"));
  const { points, lives, steps, failure } = result;
  console.log(`seed ${seed}: ${points} points, ${lives} lives, ${steps} calls`);
  console.log(failure === null ? "every promise was kept" : `broken: ${failure.stack}`);
  if (failure !== null) process.exitCode = 1;
}

async function runMany(first: number, count: number): Promise<void> {
  const startedAtMs = performance.now();
  const sums = { points: 0, steps: 0, failed: 0 };
  for (let seed = first; seed < first + count; seed += 1) {
    const result = await runWorld({ seed, vault: directoryVaultUnderTest });
    sums.points += result.points;
    sums.steps += result.steps;
    if (result.failure === null) continue;
    sums.failed += 1;
    if (sums.failed === 1) console.log(story(result));
    else console.log(`seed ${seed}: ${result.failure.message}`);
  }
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  const { points, steps, failed } = sums;
  console.log(`${count} worlds, ${points} points, ${steps} calls, ${failed} broken, ${seconds} s`);
  if (failed > 0) process.exitCode = 1;
}

async function huntAll(part: string): Promise<void> {
  for (const mutant of mutants.filter(({ name }) => name.includes(part))) {
    const { seed, finding, others } = await hunt(mutant, 200);
    if (seed === null) process.exitCode = 1;
    console.log(`${mutant.name}: ${seed === null ? "NOT CAUGHT" : `seed ${seed}: ${finding}`}`);
    for (const other of others) console.log(`    also ${other}`);
  }
}

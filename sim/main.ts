import { parseArgs } from "node:util";
import { hunt } from "./hunt.ts";
import { type Kind, kinds, runKind } from "./kinds.ts";
import { mutants } from "./mutants.ts";
import { story } from "./story.ts";

const usage = `Runs the engine and the journal in virtual worlds, each drawn from its seed: those of one process, and those of two
sites with a network and a spool between them.

  npm run sim -- --seed 123 --kind two-sites    one world, with its trace; of one process when no kind is given
  npm run sim -- --seeds 1000                   that many worlds of each kind, or of one, from 1 or --from on
  npm run sim -- --mutants                      whether each mutant is caught within 200 worlds
  npm run sim -- --mutant base                  only those whose name has it
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    from: { type: "string" },
    kind: { type: "string" },
    mutants: { type: "boolean" },
    mutant: { type: "string" },
    help: { type: "boolean" },
  },
});

const kind = kinds.find((name) => name === values.kind) ?? null;
if (values.kind !== undefined && kind === null) {
  process.stderr.write(`--kind is one of ${kinds.join(", ")}\n`);
  process.exitCode = 2;
} else if (values.help) process.stdout.write(usage);
else if (values.mutants || values.mutant) await huntAll(values.mutant ?? "");
else if (values.seed !== undefined) await replay(kind ?? "one-process", Number(values.seed));
else {
  for (const one of kind === null ? kinds : [kind]) {
    await runMany(one, Number(values.from ?? 1), Number(values.seeds ?? 200));
  }
}

async function replay(one: Kind, seed: number): Promise<void> {
  const result = await runKind(one, seed);
  console.log(result.trace.join("\n"));
  const { points, lives, steps, failure } = result;
  console.log(`${one}, seed ${seed}: ${points} points, ${lives} lives, ${steps} calls`);
  console.log(failure === null ? "every promise was kept" : `broken: ${failure.stack}`);
  if (failure !== null) process.exitCode = 1;
}

async function runMany(one: Kind, first: number, count: number): Promise<void> {
  const startedAtMs = performance.now();
  const sums = { points: 0, steps: 0, failed: 0 };
  for (let seed = first; seed < first + count; seed += 1) {
    const result = await runKind(one, seed);
    sums.points += result.points;
    sums.steps += result.steps;
    if (result.failure === null) continue;
    sums.failed += 1;
    if (sums.failed === 1) console.log(story(one, result));
    else console.log(`seed ${seed}: ${result.failure.message}`);
  }
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  const { points, steps, failed } = sums;
  const worlds = `${count} worlds, ${one}`;
  console.log(`${worlds}: ${points} points, ${steps} calls, ${failed} broken, ${seconds} s`);
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

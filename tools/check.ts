import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm } from "node:fs/promises";
import { countTests, finalLine, type TestCounts } from "./test-counts.ts";

// `node tools/check.ts check`: static checks and the fast tests. `… test`: the same, then the tests with real programs.

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Where vitest leaves its JSON report; null for a static check, which counts as one test. */
  readonly reportPath: string | null;
}

interface Outcome {
  readonly step: Step;
  readonly exitCode: number;
  readonly output: string;
  readonly durationMs: number;
}

const reportsDirectory = ".cache/reports";

const staticSteps: readonly Step[] = [
  { name: "types (tsc)", command: ["tsc", "-p", "."], reportPath: null },
  { name: "format and lint (biome)", command: ["biome", "check"], reportPath: null },
  {
    name: "lint with types (oxlint)",
    command: ["oxlint", "--type-aware", "src", "sim", "test", "bench", "demo", "tools"],
    reportPath: null,
  },
  { name: "dead code (knip)", command: ["knip", "--no-progress"], reportPath: null },
  {
    name: "generated pages are current",
    command: ["node", "tools/write-docs.ts", "--check"],
    reportPath: null,
  },
];

function testStep(project: "fast" | "real"): Step {
  const reportPath = `${reportsDirectory}/${project}.json`;
  return {
    name: project === "fast" ? "fast tests" : "tests with real programs",
    command: [
      "vitest",
      "run",
      "--project",
      project,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${reportPath}`,
    ],
    reportPath,
  };
}

/** Runs the step; its output goes straight through when `isLive`, otherwise it is kept for a failure. */
async function run(step: Step, isLive: boolean): Promise<Outcome> {
  const startedAtMs = performance.now();
  const [program, ...rest] = step.command;
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const take = (text: Buffer) => {
    if (isLive) process.stdout.write(text);
    else output += text.toString();
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  let exitCode = 1;
  try {
    const [code] = await once(child, "close");
    exitCode = typeof code === "number" ? code : 1;
  } catch (error) {
    output += `${program} did not start: ${error instanceof Error ? error.message : String(error)}\n`;
  }
  return { step, exitCode, output, durationMs: performance.now() - startedAtMs };
}

function report(outcome: Outcome): void {
  const verdict = outcome.exitCode === 0 ? "ok    " : "FAILED";
  const seconds = (outcome.durationMs / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${verdict} ${seconds} s  ${outcome.step.name}\n`);
  if (outcome.exitCode !== 0) process.stdout.write(`${outcome.output}\n`);
}

async function countsOf(outcome: Outcome): Promise<TestCounts> {
  const { reportPath } = outcome.step;
  const failed = outcome.exitCode === 0 ? 0 : 1;
  if (reportPath === null) return { passed: 1 - failed, failed, skipped: 0 };
  const text = await readFile(reportPath, "utf8").catch(() => null);
  return countTests(text, outcome.exitCode);
}

async function main(task: string | undefined): Promise<number> {
  if (task !== "check" && task !== "test") {
    process.stderr.write("usage: node tools/check.ts check|test\n");
    return 2;
  }
  await rm(reportsDirectory, { recursive: true, force: true });
  await mkdir(reportsDirectory, { recursive: true });
  const outcomes: Outcome[] = [];
  const perform = async (step: Step, isLive: boolean) => {
    const outcome = await run(step, isLive);
    report(outcome);
    outcomes.push(outcome);
  };
  // The static checks spend much of their time on one core each: two lanes of work at a time.
  await Promise.all([
    perform(testStep("fast"), false),
    staticSteps.reduce(
      (before, step) => before.then(() => perform(step, false)),
      Promise.resolve(),
    ),
  ]);
  if (task === "test") await perform(testStep("real"), true);
  const counts = await Promise.all(outcomes.map(countsOf));
  process.stdout.write(`${finalLine(counts)}\n`);
  return outcomes.every((outcome) => outcome.exitCode === 0) ? 0 : 1;
}

process.exitCode = await main(process.argv[2]);

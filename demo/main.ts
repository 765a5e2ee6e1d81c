import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import type { GroupName, MachineName } from "../src/core/ids.ts";
import { play } from "./play.ts";
import { isPass, jsonOf, jsonOfFailure, textOf } from "./report.ts";
import { terminalStage } from "./stage.ts";

const help = `npm run demo [-- --two-sites] [-- --json]

Plays the main job: boots a Debian guest with PostgreSQL in QEMU, replicates it every 2 s into a vault, kills it, and
boots the newest and an older point from the vault. Ends with PASS, or with what failed and exit code 1.

  --two-sites   vault and replicator are two processes; the link between them is cut for 10 s on the way
  --json        end with one line: a JSON object of the facts
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      "two-sites": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const clock = systemClock();
  const interrupted = interruptSignal();
  const directory = await mkdtemp(join(tmpdir(), "afterimage-demo-"));
  // On exit, so that nothing stays even when a second interrupt cuts the first one's cleaning short.
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  using stage = terminalStage(clock, process.stderr);
  const print = (json: object, text: string) =>
    process.stdout.write(`${values.json ? JSON.stringify(json) : text}\n`);
  try {
    const outcome = await play({
      clock,
      files: nodeFileSystem(),
      signal: interrupted,
      stage,
      directory,
      vault: join(directory, "vault"),
      group: "erp" as GroupName,
      machine: "db" as MachineName,
      hasTwoSites: values["two-sites"],
    });
    stage.end("done");
    print(jsonOf(outcome), `\n${textOf(outcome)}`);
    return isPass(outcome.checks) ? 0 : 1;
  } catch (error) {
    stage.end("failed");
    const reason = error instanceof Error ? error.message : String(error);
    const nextStep = error instanceof Fault ? ` — ${error.nextStep}` : "";
    if (!(error instanceof Fault)) process.stderr.write(`${String(error)}\n`);
    print(jsonOfFailure(reason), `\nFAIL: ${reason}${nextStep}`);
    return 1;
  }
}

/** Aborts at the first interruption; a second one ends the process at once, and what it started dies with it. */
function interruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (interrupted.signal.aborted) process.exit(1);
      interrupted.abort(new Fault("ABORTED", "the demo was interrupted"));
    });
  }
  return interrupted.signal;
}

process.exitCode = await main();

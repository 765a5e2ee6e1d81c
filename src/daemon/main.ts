import { readFile } from "node:fs/promises";
import { z } from "zod";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { systemPrng } from "../base/prng.ts";
import { runAfterimage } from "../cli/main.ts";
import { processTerminal } from "../cli/terminal.ts";
import { sqliteLocks } from "../journal/sqlite-locks.ts";
import { interruptSignal } from "./interrupts.ts";
import { replicate } from "./replicate.ts";
import { serveReplicator } from "./replicator-serve.ts";
import { serveVault } from "./vault-serve.ts";

// The `afterimage` command: bin/afterimage starts this file.

async function version(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

const context = {
  terminal: processTerminal(),
  files: nodeFileSystem(),
  clock: systemClock(),
  prng: systemPrng(),
  locks: sqliteLocks(),
  signal: interruptSignal(),
  isTracing: process.env.AFTERIMAGE_TRACE === "1",
};
process.exitCode = await runAfterimage(process.argv.slice(2), context, {
  replicate,
  serveReplicator,
  serveVault,
  version: await version(),
});

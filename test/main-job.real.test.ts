import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { pointsMin } from "../demo/checks.ts";
import { KIB } from "../src/base/units.ts";
import { ensureGuest } from "./guest/guest-images.ts";

const timeoutMs = 400_000;
const demo = join(import.meta.dirname, "../demo/main.ts");
const factsSchema = z.strictObject({
  pass: z.boolean(),
  points: z.int(),
  bytesChanged: z.int(),
  bytesRead: z.int(),
  bytesStored: z.int(),
  rpoSeconds: z.number(),
  rtoSeconds: z.strictObject({ newest: z.number(), older: z.number() }),
  rowsAcknowledged: z.int(),
  rowsRecovered: z.int(),
  checks: z.array(z.strictObject({ name: z.string(), pass: z.boolean(), detail: z.string() })),
});
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aft-demo-"));
  await ensureGuest({ signal: AbortSignal.timeout(timeoutMs) });
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Starts the demo with a directory for temporary files of its own, so that what it leaves is seen. */
function startDemo() {
  const child = spawn(process.execPath, [demo, "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TMPDIR: directory },
  });
  const said = { output: "", progress: "" };
  child.stdout.on("data", (bytes: Buffer) => {
    said.output += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    said.progress += bytes.toString();
  });
  return { child, said };
}

/** Command lines on this host that name the demo's directory. */
async function processesLeft(): Promise<readonly string[]> {
  const left: string[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const words = await readFile(join("/proc", name, "cmdline"), "utf8").catch(() => "");
    if (words.includes(directory)) left.push(words.replaceAll("\0", " "));
  }
  return left;
}

test(
  "the main job runs: a live PostgreSQL machine is replicated, killed, and comes back from its replica",
  async () => {
    const { child, said } = startDemo();
    const [exitCode] = await once(child, "close");
    const facts = factsSchema.parse(JSON.parse(said.output.trimEnd().split("\n").at(-1) ?? ""));
    expect(facts.checks.filter(({ pass }) => !pass)).toEqual([]);
    expect({ exitCode, pass: facts.pass }).toEqual({ exitCode: 0, pass: true });
    expect(facts.points).toBeGreaterThanOrEqual(pointsMin);
    expect(facts.rowsAcknowledged).toBeGreaterThan(0);
    expect(facts.rowsRecovered).toBeGreaterThanOrEqual(facts.rowsAcknowledged);
    // Nothing unchanged is read, and what is read is stored once, beside what a delta says of itself.
    expect(facts.bytesChanged).toBeGreaterThan(0);
    expect(facts.bytesRead).toBeLessThanOrEqual(facts.bytesChanged);
    const overheadBytesMax = facts.points * 16 * KIB;
    expect(facts.bytesStored).toBeLessThanOrEqual(facts.bytesChanged + overheadBytesMax);
    expect(facts.rpoSeconds).toBeGreaterThan(0);
    expect(Math.min(facts.rtoSeconds.newest, facts.rtoSeconds.older)).toBeGreaterThan(0);
    expect(await readdir(directory)).toEqual([]);
    expect(await processesLeft()).toEqual([]);
  },
  timeoutMs,
);

test(
  "an interrupted demo ends with exit code 1 and leaves nothing",
  async () => {
    const { child, said } = startDemo();
    const closed = once(child, "close");
    const isPlaying = Promise.withResolvers<void>();
    child.stderr.on("data", () => {
      // The initial sync is over: production, replicator and vault are all there.
      if (said.progress.includes("initial sync")) isPlaying.resolve();
    });
    await Promise.race([isPlaying.promise, closed]);
    child.kill("SIGINT");
    const [exitCode] = await closed;
    expect(exitCode).toBe(1);
    expect(JSON.parse(said.output)).toMatchObject({ pass: false });
    expect(await readdir(directory)).toEqual([]);
    expect(await processesLeft()).toEqual([]);
  },
  timeoutMs,
);

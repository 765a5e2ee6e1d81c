import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LogLine } from "../../test/two-sites/site-process.ts";
import { type Sites, sites } from "../../test/two-sites/sites.ts";
import { MIB } from "../base/units.ts";
import { parseMetrics } from "../http/parse-metrics-for-test.ts";

// The first proof that two sites hold together, in the order of a working day; the faults are in test/two-sites.

const run = promisify(execFile);
let both: Sites;
const patternOf = (number: number) => Buffer.alloc(65_536, number);
const says = (msg: string) => (line: LogLine) => line.msg === msg;
const isSealed = says("A point was sealed.");

beforeAll(async () => {
  both = await sites({
    disks: [
      { name: "data", sizeBytes: 16 * MIB },
      { name: "wal", sizeBytes: 4 * MIB },
    ],
    replicator: { metrics: "127.0.0.1:0" },
  });
  await both.startVault();
  await both.enrol("protected");
  await both.startReplicator();
});
afterAll(() => both[Symbol.asyncDispose]());

/** Writes, and waits for a point that has it. */
async function writeAndSeal(number: number): Promise<void> {
  const mark = both.replicator.mark;
  await both.guest.disk("data").write(number * 65_536, patternOf(number));
  await both.replicator.seen((line) => isSealed(line) && Number(line.dirtyBytes) > 0, { mark });
}

/** What the newest point at the vault shows where `number` was written. */
async function atVault(number: number): Promise<number | undefined> {
  return both.read(async (reader) => {
    const newest = reader.points().at(-1);
    const disk = newest?.disks.find(({ name }) => name === "db/data");
    if (newest === undefined || disk === undefined) return undefined;
    await using view = await reader.open(newest.id);
    const into = Buffer.alloc(1);
    await view.read(disk.identity, number * 65_536, into);
    return into[0];
  });
}

test("what a guest writes is at the vault", async () => {
  await both.replicator.seen(isSealed);
  await writeAndSeal(1);
  expect(await atVault(1)).toBe(1);
});

test("a second replicator of the same state is refused", async () => {
  const words = ["replicator", "serve", both.replicatorConfigPath, "--json"] as const;
  await expect(both.command("replicator", ...words)).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^afterimage: STATE_BUSY: .*another replicator/m),
  });
});

test("status tells the same of both sites", async () => {
  const status = async (site: "vault" | "replicator", place: string) =>
    JSON.parse(await both.command(site, "status", place, "--json"));
  const replicator = await status("replicator", both.stateDirectory);
  expect(replicator).toMatchObject({
    replicator: { name: "protected" },
    process: {
      role: "replicator",
      link: { isUp: true, clock: { errorMs: expect.any(Number) } },
      groups: [{ name: "erp", state: "replicating", trouble: null }],
    },
    alarms: [],
  });
  const vault = await status("vault", both.vaultDirectory);
  expect(vault).toMatchObject({
    writer: { role: "vault" },
    groups: [{ name: "erp", custody: { peer: { name: "protected" } } }],
  });
  const [told] = replicator.process.groups;
  const [kept] = vault.groups;
  expect(told.telemetry.rpoSeconds).toBeLessThan(60);
  expect(kept.rpoSeconds).toBeLessThan(60);
  expect(Math.abs(kept.newest.sequence - told.telemetry.newest.sequence)).toBeLessThan(3);
  const text = await both.command("replicator", "status", both.stateDirectory);
  expect(text).toMatch(/^Replicator protected[\s\S]*\nLink to .*: up for/);
});

test("a replicator tells Prometheus what can be read", async () => {
  const { host, port } = (await both.replicator.seen(says("Serving metrics."))) as unknown as {
    host: string;
    port: number;
  };
  const at = both.network.at("replicator");
  const script = `process.stdout.write(await (await fetch("http://${host}:${port}/metrics")).text())`;
  const words = [...at, process.execPath, "--input-type=module", "-e", script];
  const { stdout } = await run(words[0]!, words.slice(1));
  const families = parseMetrics(stdout);
  const value = (name: string) => families.get(`afterimage_${name}`)?.samples[0]?.value;
  expect(value("rpo_seconds")).toBeLessThan(60);
  expect(value("points_total")).toBeGreaterThan(1);
  expect(value("link_up")).toBe(1);
  expect(value("sent_bytes_total")).toBeGreaterThan(65_536);
  expect(families.has("afterimage_rpo_target_seconds")).toBe(false);
});

test("SIGHUP reads the configuration again and names what needs a restart", async () => {
  const text = await readFile(both.replicatorConfigPath, "utf8");
  const { replicator } = both;
  const mark = replicator.mark;
  const changed = text
    .replace("intervalSeconds: 1", "intervalSeconds: 2")
    .replace("127.0.0.1:0", "127.0.0.1:1");
  await writeFile(both.replicatorConfigPath, `${changed}compression: zstd\n`);
  replicator.child.kill("SIGHUP");
  await replicator.seen(says("The configuration was read again."), { mark });
  const needs = await replicator.seen(says("Some changes need a restart."), { mark });
  expect(needs.keys).toEqual(["metrics"]);
  await writeAndSeal(2);
  const newest = (await both.points()).at(-1);
  expect(newest?.cost.storedBytes).toBeLessThan(16_384);
  await writeFile(both.replicatorConfigPath, "state: 7\n");
  replicator.child.kill("SIGHUP");
  await replicator.seen(says("The configuration stays as it was."), { mark });
  await writeFile(both.replicatorConfigPath, text);
});

test("while the vault is away points are cut, and arrive afterwards", async () => {
  const { replicator } = both;
  await both.vault.kill();
  await replicator.seen(says("The link is down."));
  await writeAndSeal(3);
  expect(await atVault(3)).toBe(0);
  const mark = replicator.mark;
  await both.startVault();
  await replicator.seen(says("A point that had waited is at the vault."), { mark });
  await writeAndSeal(4);
  expect([await atVault(3), await atVault(4)]).toEqual([3, 4]);
  const notes = (await both.points()).flatMap((point) => point.notes);
  expect(notes).toEqual([]);
});

test("SIGTERM is a clean stop, and the next start goes on without reading a disk whole", async () => {
  expect(await both.replicator.stop()).toBe(0);
  const replicator = await both.startReplicator();
  const attached = await replicator.seen(says("The group's disks were found."));
  expect(attached.disks).toEqual([
    { name: "db/data", state: "tracked", cause: null },
    { name: "db/wal", state: "tracked", cause: null },
  ]);
  await writeAndSeal(5);
  expect(await atVault(5)).toBe(5);
});

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { rssBytesMaxOf } from "../../bench/process.ts";
import { MIB } from "../../src/base/units.ts";
import { testGroup } from "../../src/source/qemu/test-guest.ts";
import { SiteProcess } from "./site-process.ts";
import { noHarm, Trial } from "./trial.ts";

const run = promisify(execFile);
const hostilePeer = fileURLToPath(new URL("./hostile-peer.ts", import.meta.url));
/** RFC 8446, 5.1 and 6: a record's header and an alert. */
const alertBytes = 7;
const vaultRssBytesMax = 300 * MIB;

let trial: Trial;
let since = 0;

beforeAll(async () => {
  trial = await Trial.begin({ seed: 20_261_124 });
});
afterAll(() => trial[Symbol.asyncDispose]());

/** Another replicator, of another guest, that was invited too and claims the same group. */
async function rival(name: string): Promise<AsyncDisposable & { readonly running: SiteProcess }> {
  const { sites } = trial;
  const disks = [{ name: "data", sizeBytes: MIB }];
  await sites.host.createImages(name, disks);
  const guest = await sites.host.start(name, disks);
  const state = join(sites.directory, `state-${name}`);
  await sites.enrol(name, { state });
  const path = join(sites.directory, `${name}.yaml`);
  const machine = { name, qmp: guest.qmpPath, disks: [{ name: "data", node: "data" }] };
  const config = {
    state,
    intervalSeconds: 1,
    scratch: { directory: sites.host.scratchDirectory, capBytes: 64 * MIB },
    spool: { reserveBytes: 0 },
    groups: [{ name: testGroup, machines: [machine] }],
  };
  await writeFile(path, stringify(config));
  const running = new SiteProcess({
    at: sites.network.at("replicator"),
    words: ["replicator", "serve", path, "--log", "json"],
  });
  return {
    running,
    [Symbol.asyncDispose]: async () => {
      await running.kill();
      await guest.kill();
    },
  };
}

const vaultCommand = (...words: readonly string[]) =>
  trial.sites.command("vault", "vault", ...words, "--vault", trial.sites.vaultDirectory);
const raise = (holder: string) =>
  vaultCommand("raise", testGroup, "--holder", holder, "--reason", "a test", "--yes", testGroup);

describe("who does not hold the group writes nothing", () => {
  test("two replicators claim one group: the second is a conflict", async () => {
    since = trial.points.newestSequence;
    await using west = await rival("west");
    await west.running.seen(({ code }) => code === "GENERATION_CONFLICT");
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("an old replicator returns after the group was raised: it is stale, alarms, and writes nothing", async () => {
    since = trial.points.newestSequence;
    const { replicator } = trial.sites;
    await replicator.stop();
    await raise("west");
    const returned = await trial.sites.startReplicator();
    const alarm = await returned.seen(({ code }) => code === "GENERATION_STALE");
    expect(alarm.level).toBeGreaterThanOrEqual(50);
    const held = await trial.sites.points();
    await raise("east");
    expect((await trial.sites.points()).length).toBe(held.length);
    // A group that was taken from a replicator waits for a person there.
    await returned.stop();
    await trial.sites.startReplicator();
    expect(await trial.harm(since)).toEqual(noHarm);
    expect(trial.points.points.at(-1)?.generation.number).toBe(3);
  });
});

describe("a peer that may not, or does not know how to, harms nothing", () => {
  test("garbage, oversized lengths, nothing, no certificate, older TLS: the vault ends it and says nothing", async () => {
    since = trial.points.newestSequence;
    const { network, stateDirectory, vault } = trial.sites;
    const identity = join(stateDirectory, "identity.json");
    const words = [hostilePeer, network.vaultAddress, String(trial.sites.port), identity];
    const [file, ...rest] = [...network.at("replicator"), process.execPath, ...words];
    const { stdout } = await run(file!, rest);
    const outcomes = JSON.parse(stdout) as Record<string, { readonly saidBytes: number }>;
    for (const [name, outcome] of Object.entries(outcomes)) {
      expect({ name, outcome }).toMatchObject({ name, outcome: { isEndedByVault: true } });
      // An alert of TLS, which says no more than that it is over.
      if (!name.startsWith("its")) expect(outcome.saidBytes).toBeLessThanOrEqual(alertBytes);
    }
    const rssBytesMax = await rssBytesMaxOf(vault.child.pid ?? 0);
    expect(rssBytesMax).toBeLessThan(vaultRssBytesMax);
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("revoke cuts a live connection, and points wait until it is enrolled again", async () => {
    since = trial.points.newestSequence;
    const { vault, replicator } = trial.sites;
    const mark = vault.mark;
    await vaultCommand("revoke", "east");
    await vault.seen(({ reason }) => /revoked certificate/.test(String(reason)), { mark });
    await trial.cuts(2);
    await trial.sites.enrol("east");
    await replicator.stop();
    await trial.sites.startReplicator();
    expect(await trial.harm(since)).toEqual(noHarm);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import { MIB } from "../base/units.ts";
import { askWriter } from "../control/client.ts";
import { type WriterState, writerStateSchema } from "../control/writer-state.ts";
import { type DiskName, drawDiskIdentity, drawPointId, type GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import { parseMetrics } from "../http/parse-metrics-for-test.ts";
import { TestHistory, testGroup } from "../journal/history-for-test.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { type TestReplicator, type TestVaultSite, testVaultSite } from "./vault-site-for-test.ts";

// Real TLS, real files, everything in this process; each test starts the vault as its command line does.

const { signal } = new AbortController();
/** Waiting that has nothing to do with what is tested. */
const patience = { timeout: 20_000 };
let site: TestVaultSite;
let history: TestHistory;

beforeEach(async () => {
  site = await testVaultSite("groupsMax: 2\nsilentAfterSeconds: 1h\nmetrics: 127.0.0.1:0\n");
  history = new TestHistory(9);
  history.addDisk("db/data", MIB);
}, patience.timeout);
afterEach(() => site[Symbol.asyncDispose]());

async function state(): Promise<WriterState> {
  const path = controlSocket(site.directory);
  const answer = await askWriter({ path, request: { verb: "state" }, signal });
  return writerStateSchema.parse(answer?.result);
}

/** Seals what changed, as this replicator and in this generation. */
async function seal(intake: JournalIntake, { identity }: TestReplicator, number = 1) {
  await intake.ask();
  const header = history.header(intake);
  return history.seal(intake, { ...header, generation: { number, holder: identity.id } });
}

test("a point that a replicator seals is there after the vault was started anew", async () => {
  const ours = await site.replicator("protected");
  const intake = ours.intake(testGroup);
  await seal(intake, ours);
  history.scribble(5);
  const second = await seal(intake, ours);
  expect(await state()).toMatchObject({
    role: "vault",
    vault: { peers: [{ name: "protected", state: "enrolled", groups: ["erp"] }] },
    alarms: [],
    groups: [
      {
        name: "erp",
        state: "receiving",
        trouble: null,
        custody: { points: 2, generation: { number: 1, holder: "protected" } },
      },
    ],
  });
  await site.restart();
  await expect.poll(() => ours.link.health().isUp, patience).toBe(true);
  const standing = await reattached(intake);
  expect(standing.head?.id).toBe(second.id);
  history.scribble(5);
  const third = await seal(intake, ours);
  expect(third).toMatchObject({ sequence: 3, fromPoint: second.id });
});

test("SIGHUP does not end the vault, and says that nothing was read", async () => {
  expect(process.emit("SIGHUP", "SIGHUP")).toBe(true);
  const heard = () =>
    site.log().some(({ msg }) => String(msg).startsWith("SIGHUP changes nothing"));
  await expect.poll(heard, patience).toBe(true);
  expect((await state()).role).toBe("vault");
});

/** The vault began anew: what was under way is told so once, then it answers. */
async function reattached(intake: JournalIntake) {
  let standing = null;
  await expect
    .poll(async () => {
      standing = await intake.ask().catch(() => null);
      return standing;
    }, patience)
    .not.toBeNull();
  return standing as unknown as Awaited<ReturnType<JournalIntake["ask"]>>;
}

describe("two replicators", () => {
  test("claim one group: the first that seals holds it, raising hands it over", async () => {
    const ours = await site.replicator("protected");
    const theirs = await site.replicator("rival");
    await seal(ours.intake(testGroup), ours);
    const rivals = theirs.intake(testGroup);
    const conflict = { code: "GENERATION_CONFLICT", details: { holder: ours.identity.id } };
    await expect(seal(rivals, theirs)).rejects.toMatchObject(conflict);
    const raised = await site.ask(
      ...["vault", "raise", "erp", "--holder", "rival", "--yes", "erp"],
      ...["--reason", "the first site burnt"],
    );
    expect(raised).toMatchObject({
      group: "erp",
      generation: { number: 2, holder: theirs.identity.id, holderName: "rival" },
      before: { number: 1, holder: ours.identity.id },
    });
    history.scribble(1);
    const stale = { code: "GENERATION_STALE", details: { number: 2, holder: theirs.identity.id } };
    await expect(seal(ours.intake(testGroup), ours)).rejects.toMatchObject(stale);
    const header = await seal(rivals, theirs, 2);
    expect(header).toMatchObject({ sequence: 2, generation: { number: 2 } });
  });
});

test("revoking cuts a live connection, and nobody comes back with that certificate", async () => {
  const ours = await site.replicator("protected");
  await seal(ours.intake(testGroup), ours);
  const revoked = await site.ask("vault", "revoke", "protected");
  expect(revoked.channelsCut).toBeGreaterThan(0);
  await expect.poll(() => ours.link.health().isUp, patience).toBe(false);
  await expect(ours.intake(testGroup).ask()).rejects.toMatchObject({ code: "LINK_LOST" });
  await expect
    .poll(() => site.log().some(({ msg }) => msg === "A connection was refused."), patience)
    .toBe(true);
  // Nothing of it is kept for its coming back.
  const ended = site.log().find(({ msg }) => msg === "A replicator's session ended.");
  expect(ended).toMatchObject({ peer: "protected", reason: expect.stringContaining("revoked") });
  expect(await site.ask("vault", "peers")).toMatchObject({
    peers: [{ name: "protected", state: "revoked", channels: 0, groups: ["erp"] }],
  });
});

test("a vault takes as many groups as it is told, and says so to the next", async () => {
  const ours = await site.replicator("protected");
  const begin = async (name: string) => {
    const syncId = drawPointId(seededPrng(1));
    const disk = { disk: "db/data" as DiskName, identity: drawDiskIdentity(seededPrng(2)) };
    const request = { kind: "base", ...disk, sizeBytes: 65_536, syncId } as const;
    await using _staged = await ours.intake(name as GroupName).stage(request);
  };
  for (const name of ["a", "b"]) await begin(name);
  const full = { code: "VAULT_FULL", details: { groupsMax: 2 } };
  await expect(begin("c")).rejects.toMatchObject(full);
  await begin("a");
});

test("asking for groups that are not there leaves none behind", async () => {
  const ours = await site.replicator("protected");
  for (const name of ["x", "y", "z"]) {
    const nothing = { head: null, staged: [], generation: null };
    expect(await ours.intake(name as GroupName).ask()).toMatchObject(nothing);
  }
  expect((await state()).groups).toEqual([]);
  await seal(ours.intake(testGroup), ours);
  expect((await state()).groups).toMatchObject([{ name: "erp" }]);
});

test("RPO is sampled while it serves, and told to whoever scrapes", async () => {
  const ours = await site.replicator("protected");
  await seal(ours.intake(testGroup), ours);
  const seen = async () => (await state()).groups[0]?.custody?.rpoQuantiles ?? null;
  await expect.poll(seen, patience).not.toBeNull();
  const served = site.log().find(({ msg }) => msg === "Serving metrics.");
  const response = await fetch(`http://127.0.0.1:${Number(served?.port)}/metrics`);
  const families = parseMetrics(await response.text());
  const value = (name: string) => {
    const samples = families.get(`afterimage_${name}`)?.samples ?? [];
    return samples.find(({ labels }) => labels.group === "erp")?.value;
  };
  expect(value("journal_points")).toBe(1);
  expect(value("source_silent")).toBe(0);
  expect(value("rpo_seconds")).toBeGreaterThan(0);
  expect(value("base_used_bytes")).toBeGreaterThanOrEqual(0);
});

test("no token, and no key, stands in the log", async () => {
  const { token } = await site.ask("vault", "invite", "other");
  const [line] = site.log().filter(({ msg }) => msg === "An invitation was made.");
  expect(line).toMatchObject({ peer: "other" });
  expect(JSON.stringify(site.log())).not.toContain(String(token));
});

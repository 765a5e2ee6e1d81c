import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { Peer } from "../core/channel.ts";
import { drawPointId } from "../core/ids.ts";
import { TestHistory, testGroup } from "../journal/history-for-test.ts";
import { memoryVault, type TestVault } from "../journal/vault-for-test.ts";
import { type GroupSurroundings, VaultGroup, type VaultGroupPolicy } from "./vault-group.ts";

const hourMs = 3_600_000;
const peer: Peer = {
  name: "protected",
  role: "replicator",
  id: "00000000000000aa",
  address: "192.0.2.1:40000",
};
const connected: GroupSurroundings = { peer, nameOf: () => "protected" };
const alone: GroupSurroundings = { peer: null, nameOf: () => "protected" };
const policy: VaultGroupPolicy = {
  retention: { pointsMax: null, ageMaxMs: null },
  silentAfterMs: 60_000,
  alarmWhenSilent: true,
  clockOffsetMaxMs: 5000,
};

let wallMs: number;
let monotonicMs: number;
let vault: TestVault;
let history: TestHistory;
let logged: string[];
const clock: Clock = {
  ...systemClock(),
  nowMs: () => wallMs,
  monotonicMs: () => monotonicMs,
};
const log = {
  note: (level: string, message: string) => void logged.push(`${level}: ${message}`),
};

beforeEach(async () => {
  wallMs = 1_700_000_000_000;
  monotonicMs = 50_000;
  logged = [];
  vault = await memoryVault({ clock });
  history = new TestHistory(8);
  history.addDisk("db/data", MIB);
});
afterEach(() => vault[Symbol.asyncDispose]());

/** Time passes, and the vault looks once a second. */
function pass(group: VaultGroup, seconds: number, surroundings = connected): void {
  for (let second = 0; second < seconds; second += 1) {
    wallMs += 1000;
    monotonicMs += 1000;
    group.tick(surroundings);
  }
}

async function openGroup(more: Partial<VaultGroupPolicy> = {}): Promise<VaultGroup> {
  const journal = await vault.reopen();
  const isSyncing = (await journal.staged()).length > 0;
  const parts = { journal, clock, log, policy: { ...policy, ...more }, isSyncing };
  return new VaultGroup({ name: testGroup, ...parts });
}

const alarmsLogged = () => logged.filter((line) => line.startsWith("error"));

describe("the dead man's alarm", () => {
  test("is raised once when a source falls silent, says why, and ends when it speaks again", async () => {
    const group = await openGroup();
    const intake = group.intake(peer);
    await history.seal(intake);
    pass(group, 59);
    expect(group.alarms(alone)).toEqual([]);
    const silentSinceMs = wallMs - 59_000;
    pass(group, 120, alone);
    expect(alarmsLogged()).toEqual(["error: The source of a group is silent."]);
    expect(group.state(alone)).toMatchObject({ state: "silent", custody: { silentSinceMs } });
    expect(group.state(alone).trouble).toMatch(/^SOURCE_SILENT: .*: nobody is connected — .+/);
    expect(group.alarms(connected)[0]?.cause).toMatch(/protected is connected and sends no points/);
    history.scribble(1);
    await history.seal(intake);
    pass(group, 1);
    expect(group.state(connected)).toMatchObject({ state: "receiving", trouble: null });
    expect(group.alarms(connected)).toEqual([]);
  });
  test("survives a restart: silence is told since when it really began", async () => {
    const before = await openGroup();
    await history.seal(before.intake(peer));
    const sealedAtMs = wallMs;
    wallMs += 2 * hourMs;
    monotonicMs = 0;
    const group = await openGroup();
    pass(group, 59);
    expect(group.alarms(alone)).toEqual([]);
    pass(group, 1);
    expect(group.alarms(alone)).toMatchObject([{ code: "SOURCE_SILENT", sinceMs: sealedAtMs }]);
  });
  test("a source that says that nothing changed is not silent", async () => {
    const group = await openGroup();
    const intake = group.intake(peer);
    const { id, instant } = await history.seal(intake);
    for (let count = 1; count < 10; count += 1) {
      pass(group, 50);
      await intake.confirmCurrent({ point: id, atMs: instant.lowerMs + count * 50_000 });
    }
    expect(alarmsLogged()).toEqual([]);
  });
  test("a sync that goes on is not silence, nor is a group that never had a point", async () => {
    const group = await openGroup();
    pass(group, 600);
    expect(group.state(connected)).toMatchObject({ state: "receiving", trouble: null });
    const [disk] = history.disks;
    const { name, identity, content } = disk!;
    const request = { kind: "base", disk: name, identity, sizeBytes: content.length } as const;
    const staged = await group.intake(peer).stage({
      ...request,
      syncId: drawPointId(history.prng),
    });
    for (let count = 1; count < 10; count += 1) {
      await staged.checkpoint(0);
      pass(group, 50);
    }
    expect(alarmsLogged()).toEqual([]);
    pass(group, 10);
    expect(alarmsLogged()).toHaveLength(1);
  });
  test("wall clocks that jump neither raise it nor hide it", async () => {
    const group = await openGroup();
    await history.seal(group.intake(peer));
    wallMs += hourMs;
    pass(group, 30);
    expect(alarmsLogged()).toEqual([]);
    wallMs -= 2 * hourMs;
    pass(group, 30);
    expect(alarmsLogged()).toHaveLength(1);
  });
  test("is not raised for a group of which nothing is expected", async () => {
    const group = await openGroup({ alarmWhenSilent: false });
    await history.seal(group.intake(peer));
    pass(group, 600);
    expect(group.alarms(alone)).toEqual([]);
  });
});

test("RPO is in the vault's clock, whatever the source's clock says", async () => {
  const group = await openGroup();
  const intake = group.intake(peer);
  await history.seal(intake);
  history.scribble(1);
  const header = history.header(intake);
  // The source is an hour behind: it took the point two seconds ago.
  const lowerMs = wallMs - hourMs - 2000;
  const instant = { lowerMs, upperMs: lowerMs + 5, clockErrorMs: hourMs + 20 };
  {
    await using writer = await intake.begin({ ...header, instant });
    const clockComparison = { offsetMs: hourMs, errorMs: 20 };
    await writer.seal({ dirtyBytes: 1, readBytes: 1, clock: clockComparison });
  }
  pass(group, 3);
  const { custody } = group.state(connected);
  expect(custody).toMatchObject({
    rpoSeconds: 5,
    rpoErrorSeconds: 0.02,
    rpoQuantiles: { p50: 4, p99: 5, windowSeconds: 3 },
    generation: { number: 1, holderId: peer.id, holder: "protected" },
  });
  expect(group.alarms(connected)).toMatchObject([{ code: "CLOCK_SKEW", severity: "alarm" }]);
  expect(alarmsLogged()).toEqual(["error: The clocks of the two sites differ too much."]);
});

test("a vault that runs full says so until it takes points again", async () => {
  let isFull = false;
  await vault[Symbol.asyncDispose]();
  const wrap = (files: FileSystem): FileSystem => ({
    ...files,
    open: async (path, mode) => {
      const full = new Fault("STORAGE_FULL", `${path}: no room`, { path });
      if (isFull && mode === "create") throw full;
      return files.open(path, mode);
    },
  });
  vault = await memoryVault({ clock, wrap });
  const group = await openGroup();
  const intake = group.intake(peer);
  await history.seal(intake);
  isFull = true;
  const rival = group.intake({ ...peer, name: "rival", id: "00000000000000bb" });
  for (let count = 0; count < 3; count += 1) {
    const beginning = intake.begin(history.header(intake));
    await expect(beginning).rejects.toMatchObject({ code: "STORAGE_FULL" });
    const refused = rival.begin(history.header(rival));
    await expect(refused).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
  }
  const told = "What a replicator asked for was refused or failed.";
  const noted = logged.filter((line) => line.endsWith(told));
  expect(noted).toEqual([`error: ${told}`, `warn: ${told}`]);
  const rivals = { code: "GENERATION_CONFLICT", severity: "warning" };
  expect(group.alarms(connected)).toMatchObject([{ code: "STORAGE_FULL" }, rivals]);
  isFull = false;
  await history.seal(intake);
  expect(group.alarms(connected)).toMatchObject([rivals]);
  expect(group.state(connected).trouble).toMatch(/not by rival/);
  monotonicMs += 300_000;
  expect(group.alarms(connected)).toEqual([]);
});

test("bytes on the wire, in the journal and in the base are told apart", async () => {
  const group = await openGroup();
  const intake = group.intake(peer);
  await history.seal(intake);
  history.scribble(4);
  await history.seal(intake);
  await group.measure();
  const { bytes } = group.state(connected).custody!;
  const stored = group.journal.points().reduce((sum, { cost }) => sum + cost.storedBytes, 0);
  expect(bytes.journal).toBe(stored);
  expect(bytes.wire).toBeGreaterThan(0);
  expect(bytes.wire).not.toBe(bytes.journal);
  expect(bytes.base).toBeGreaterThanOrEqual(0);
});

test("retention follows each seal", async () => {
  const group = await openGroup({ retention: { pointsMax: 2, ageMaxMs: null } });
  const intake = group.intake(peer);
  for (let count = 0; count < 5; count += 1) {
    await history.seal(intake);
    history.scribble(2);
  }
  await group[Symbol.asyncDispose]();
  const again = await openGroup({ retention: { pointsMax: 2, ageMaxMs: null } });
  await expect.poll(() => again.journal.points().length, { timeout: 20_000 }).toBe(2);
  await history.check(again.journal);
});

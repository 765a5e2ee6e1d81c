import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DieOrder } from "./die-at.ts";
import { noHarm, Trial } from "./trial.ts";

// The replicator's own process, unaltered, is killed by SIGKILL at chosen calls, with the spool empty, filling and draining.

let trial: Trial;
let since = 0;

beforeAll(async () => {
  trial = await Trial.begin({ seed: 20_261_123 });
});
afterAll(() => trial[Symbol.asyncDispose]());

const spooled = String.raw`/spool/.*\.(part|delta)$`;
const state = "/spool/.*/state";

async function killAndStart(order: DieOrder): Promise<void> {
  const { replicator } = trial.sites;
  await replicator.dieAt(order);
  expect(await replicator.ended).toMatchObject({ signal: "SIGKILL" });
  await trial.sites.startReplicator();
}

/** Commands of a cycle in their order, as QEMU gets them. */
const steps: readonly (readonly [string, string])[] = [
  ["scratch is made", '"blockdev-add"'],
  ["the freeze", '"transaction"'],
  ["the export", '"block-export-add"'],
  ["the release", '"block-export-del"'],
  ["scratch goes", '"blockdev-del"'],
  ["the source forgets", '"block-dirty-bitmap-remove"'],
];

describe("nothing is lost when the replicator is killed with the spool empty", () => {
  for (const [name, command] of steps) {
    for (const when of ["before", "after"] as const) {
      test(`${when} ${name}`, async () => {
        since = trial.points.newestSequence;
        await killAndStart({ call: "qmp", match: command, nth: 1, when });
        expect(await trial.harm(since)).toEqual(noHarm);
      });
    }
  }

  test("while it speaks to the vault", async () => {
    since = trial.points.newestSequence;
    for (const nth of [1, 3, 6]) {
      await killAndStart({ call: "tls", match: "", nth, when: "after" });
      await trial.cuts(1);
    }
    expect(await trial.harm(since)).toEqual(noHarm);
  });
});

const fillings: readonly (readonly [string, DieOrder])[] = [
  ["before a point is begun", { call: "create", match: spooled, nth: 1, when: "before" }],
  ["in the middle of a point", { call: "write", match: spooled, nth: 2, when: "after" }],
  ["before fdatasync", { call: "datasync", match: spooled, nth: 1, when: "before" }],
  ["before rename", { call: "rename", match: spooled, nth: 1, when: "before" }],
  ["after rename", { call: "rename", match: spooled, nth: 1, when: "after" }],
  ["before the state lists it", { call: "rename", match: state, nth: 1, when: "before" }],
  ["after the state lists it", { call: "rename", match: state, nth: 1, when: "after" }],
  [
    "before the source forgets",
    { call: "qmp", match: '"block-dirty-bitmap-remove"', nth: 1, when: "before" },
  ],
];

test("nothing is lost when the replicator is killed at each step while the spool fills, the vault away all the time", async () => {
  since = trial.points.newestSequence;
  await trial.sites.vault.kill();
  await trial.cuts(1);
  for (const [, order] of fillings) {
    await killAndStart(order);
    await trial.cuts(1);
  }
  await trial.sites.startVault();
  expect(await trial.harm(since)).toEqual(noHarm);
});

const drainings: readonly (readonly [string, DieOrder])[] = [
  ["while a point is shipped", { call: "tls", match: "", nth: 8, when: "after" }],
  ["before a shipped point's file goes", { call: "rm", match: spooled, nth: 1, when: "before" }],
  ["after a shipped point's file went", { call: "rm", match: spooled, nth: 1, when: "after" }],
  ["before the state forgets it", { call: "rename", match: state, nth: 1, when: "before" }],
];

describe("nothing is lost when the replicator is killed while the spool drains", () => {
  for (const [name, order] of drainings) {
    test(name, async () => {
      since = trial.points.newestSequence;
      await trial.sites.vault.kill();
      await trial.cuts(4);
      await trial.sites.replicator.dieAt(order);
      await trial.sites.startVault();
      expect(await trial.sites.replicator.ended).toMatchObject({ signal: "SIGKILL" });
      await trial.sites.startReplicator();
      expect(await trial.harm(since)).toEqual(noHarm);
    });
  }
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DieOrder } from "./die-at.ts";
import { noHarm, Trial } from "./trial.ts";

// The vault's own process, unaltered, is killed by SIGKILL at chosen calls of a seal, and at random moments.

let trial: Trial;
let since = 0;

beforeAll(async () => {
  trial = await Trial.begin({ seed: 20_261_122 });
});
afterAll(() => trial[Symbol.asyncDispose]());

const incoming = "/incoming/";
const ledger = "/ledger$";
const deaths: readonly (readonly [string, DieOrder])[] = [
  ["before a delta is begun", { call: "create", match: incoming, nth: 1, when: "before" }],
  ["before an append", { call: "write", match: incoming, nth: 2, when: "before" }],
  ["after an append", { call: "write", match: incoming, nth: 2, when: "after" }],
  ["before fdatasync", { call: "datasync", match: incoming, nth: 1, when: "before" }],
  ["after fdatasync", { call: "datasync", match: incoming, nth: 1, when: "after" }],
  ["before rename", { call: "rename", match: "/deltas/", nth: 1, when: "before" }],
  ["after rename", { call: "rename", match: "/deltas/", nth: 1, when: "after" }],
  ["after the directory is durable", { call: "sync", match: "/deltas$", nth: 1, when: "after" }],
  ["before the record", { call: "write", match: ledger, nth: 1, when: "before" }],
  ["before the record is durable", { call: "datasync", match: ledger, nth: 1, when: "before" }],
  ["before the ack", { call: "datasync", match: ledger, nth: 1, when: "after" }],
];

describe("nothing is lost when the vault is killed", () => {
  for (const [name, order] of deaths) {
    test(name, async () => {
      since = trial.points.newestSequence;
      await trial.sites.vault.dieAt(order);
      expect(await trial.sites.vault.ended).toMatchObject({ signal: "SIGKILL" });
      await trial.sites.startVault();
      expect(await trial.harm(since)).toEqual(noHarm);
    });
  }

  test("after the ack", async () => {
    since = trial.points.newestSequence;
    await trial.cuts(1);
    await trial.sites.vault.kill();
    await trial.sites.startVault();
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("at random moments, away for longer each time", async () => {
    since = trial.points.newestSequence;
    for (let round = 0; round < 4; round += 1) {
      // Somewhere in what it says to the other site.
      const nth = 1 + trial.prng.below(12);
      await trial.sites.vault.dieAt({ call: "tls", match: "", nth, when: "after" });
      await trial.sites.vault.ended;
      await trial.cuts(round);
      await trial.sites.startVault();
    }
    expect(await trial.harm(since)).toEqual(noHarm);
  });
});

test("SIGTERM is a clean stop of either site", async () => {
  since = trial.points.newestSequence;
  expect(await trial.sites.vault.stop()).toBe(0);
  await trial.cuts(1);
  expect(await trial.sites.replicator.stop()).toBe(0);
  await trial.sites.startReplicator();
  await trial.cuts(1);
  await trial.sites.startVault();
  expect(await trial.harm(since)).toEqual(noHarm);
});

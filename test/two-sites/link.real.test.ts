import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isShipped, noHarm, Trial } from "./trial.ts";

// One guest that never stops writing, a vault and a replicator in their own network namespaces; the cable between them suffers.

let trial: Trial;
let since = 0;

beforeAll(async () => {
  trial = await Trial.begin({ seed: 20_261_121 });
});
afterAll(() => trial[Symbol.asyncDispose]());

function begin(context: { skip: (note: string) => void }): Trial["sites"] {
  since = trial.points.newestSequence;
  if (trial.sites.network.kind === "loopback") context.skip("no network namespaces on this host");
  return trial.sites;
}

describe("nothing is lost and history has no hole", () => {
  test("link cut: points go on being cut into the spool and are shipped in order", async (context) => {
    const { network, replicator } = begin(context);
    const { mark } = replicator;
    await network.cut();
    await trial.cuts(4);
    await network.restore();
    await replicator.seen(isShipped, { mark });
    expect(await trial.harm(since)).toEqual(noHarm);
    expect(trial.points.newestSequence).toBeGreaterThanOrEqual(since + 4);
  });

  test("link stalled: packets towards the vault vanish and the connection stands", async (context) => {
    const { network } = begin(context);
    await network.dropTowards("vault");
    await trial.cuts(4);
    await network.restore();
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("answers lost: the vault hears everything and its acknowledgements vanish", async (context) => {
    const { network } = begin(context);
    await network.dropTowards("replicator");
    await trial.cuts(4);
    await network.restore();
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("half-open: the vault's host vanishes without a word and comes back", async (context) => {
    const { network, vault } = begin(context);
    await network.dropTowards("replicator");
    await network.dropTowards("vault");
    await vault.kill();
    await trial.cuts(3);
    await trial.sites.startVault();
    await network.restore();
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("link cut again and again while the spool drains", async (context) => {
    const { network } = begin(context);
    for (let round = 0; round < 5; round += 1) {
      await network.cut();
      await trial.cuts(1);
      await network.restore();
      await trial.cuts(1);
    }
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("vault stopped in its tracks: it answers nothing, then everything at once", async () => {
    since = trial.points.newestSequence;
    const { vault } = trial.sites;
    vault.child.kill("SIGSTOP");
    await trial.cuts(4);
    vault.child.kill("SIGCONT");
    expect(await trial.harm(since)).toEqual(noHarm);
  });
});

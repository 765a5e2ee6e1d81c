import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canLie, type LyingClock, lyingClock } from "./lying-clock.ts";
import type { Site } from "./namespaces.ts";
import { isCut, noHarm, Trial } from "./trial.ts";

// The wall clocks of the unaltered processes are made to lie by libfaketime; order must not depend on them.

const hourSeconds = 3600;
const daySeconds = 24 * hourSeconds;

let trial: Trial;
let clocks: Record<Site, LyingClock>;
let since = 0;

describe.skipIf(!canLie())("clocks that lie (libfaketime)", () => {
  beforeAll(async () => {
    trial = await Trial.begin({ seed: 20_261_125 });
    const { sites } = trial;
    clocks = {
      vault: await lyingClock(sites.directory, "vault"),
      replicator: await lyingClock(sites.directory, "replicator"),
    };
    await restart();
  });
  afterAll(() => trial[Symbol.asyncDispose]());

  async function restart(): Promise<void> {
    await trial.sites.replicator.stop();
    await trial.sites.vault.stop();
    await trial.sites.startVault(clocks.vault.environment);
    await trial.sites.startReplicator(clocks.replicator.environment);
    await trial.settle();
  }

  for (const site of ["vault", "replicator"] as const) {
    for (const hours of [1, -1]) {
      test(`the ${site}'s clock jumps by ${hours} h and back: an alarm, and points go on in order`, async () => {
        since = trial.points.newestSequence;
        const { replicator } = trial.sites;
        const { mark } = replicator;
        trial.points.hasHonestClocks = false;
        await clocks[site].jumpTo(hours * hourSeconds);
        const differs = /clocks differ too much/;
        const alarm = await replicator.seen(({ msg }) => differs.test(msg), { mark });
        expect(Number(alarm.offsetMs)).toBeCloseTo((site === "vault" ? 1 : -1) * hours * 3.6e6, -5);
        await replicator.seen(isCut, { mark: replicator.lines.indexOf(alarm) });
        expect(await trial.harm(since)).toEqual(noHarm);
        await clocks[site].jumpTo(0);
        await replicator.seen(({ msg }) => /within their bound again/.test(msg), { mark });
        // Points that were taken before it jumped back are among these.
        expect(await trial.harm(since)).toEqual(noHarm);
        trial.points.hasHonestClocks = true;
      });
    }
  }

  test("both clocks run on for a month: certificates are renewed, and the old one ends without a gap", async () => {
    since = trial.points.newestSequence;
    trial.points.hasHonestClocks = false;
    for (const days of [21, 31]) {
      await clocks.vault.jumpTo(days * daySeconds);
      await clocks.replicator.jumpTo(days * daySeconds);
      // At a start, whoever has a third of its time left renews.
      if (days === 21) await restart();
    }
    expect(await trial.harm(since)).toEqual(noHarm);
  });

  test("a certificate ends mid-stream and nobody renewed it: the vault cuts it off, points wait for a new one", async () => {
    since = trial.points.newestSequence;
    trial.points.hasHonestClocks = false;
    const { vault, replicator } = trial.sites;
    const mark = vault.mark;
    await clocks.vault.jumpTo(90 * daySeconds);
    await clocks.replicator.jumpTo(90 * daySeconds);
    await vault.seen(({ reason }) => /certificate expire/.test(String(reason)), { mark });
    await trial.cuts(2);
    await replicator.stop();
    // The vault's own certificate has ended too; it is renewed when it starts.
    await vault.stop();
    await trial.sites.startVault(clocks.vault.environment);
    await trial.sites.enrol("east", { environment: clocks.replicator.environment });
    await trial.sites.startReplicator(clocks.replicator.environment);
    expect(await trial.harm(since)).toEqual(noHarm);
  });
});

import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { simFileSystem } from "../../sim/file-system.ts";
import { Medium } from "../../sim/medium.ts";
import { freeSteps } from "../../sim/steps.ts";
import { isFault } from "../base/fault.ts";
import { seededPrng } from "../base/prng.ts";
import { testGroup } from "./history-for-test.ts";
import { MemoryLockTable } from "./memory-locks.ts";
import { initVault, openVault } from "./vault.ts";

const directory = "/vault";
const clock = virtualClock();

/** Makes a vault, stops after so many calls, cuts the power, and opens what is there. */
async function initInterrupted(seed: number, callsMax: number): Promise<"made" | "missing"> {
  const medium = new Medium();
  const prng = seededPrng(seed);
  let calls = 0;
  const pass = async (label: string) => {
    if (calls >= callsMax) throw new Error("power cut");
    calls += 1;
    await freeSteps.pass(label);
  };
  const dying = simFileSystem({ medium, clock, steps: { pass } });
  await initVault(dying, directory, { clock, prng }).catch(() => {});
  medium.crash(prng, { survivalRate: 0.5, tearRate: 0.5 });
  const files = simFileSystem({ medium, clock });
  const { locks } = new MemoryLockTable(files).process();
  try {
    const options = { files, directory, locks, clock, prng, mode: "write" } as const;
    await using vault = await openVault(options);
    await vault.createGroup(testGroup);
    return "made";
  } catch (error) {
    if (!isFault(error, "VAULT_MISSING")) throw error;
    return "missing";
  }
}

test("after a power cut while it is made a vault is whole or missing, and once made it stays", async () => {
  for (let seed = 0; seed < 300; seed += 1) await initInterrupted(seed, seed % 30);
  for (let seed = 0; seed < 30; seed += 1) {
    expect(await initInterrupted(seed, Number.POSITIVE_INFINITY), `seed ${seed}`).toBe("made");
  }
});

import type { Prng } from "../../src/base/prng.ts";
import { seededPrng } from "../../src/base/prng.ts";
import type { DiskName, GroupName } from "../../src/core/ids.ts";
import { happens } from "../chance.ts";
import type { Estate } from "../estate.ts";
import { type Misfortune, simFileSystem } from "../file-system.ts";
import type { Medium } from "../medium.ts";
import type { Network } from "../network.ts";
import { simSource } from "../source.ts";
import type { Surroundings } from "../surroundings.ts";
import type { VaultUnderTest } from "../vault.ts";
import type { FileTrouble } from "./misfortunes.ts";
import type { SitesOracle } from "./oracle.ts";
import { replicatorPeer, rivalPeer } from "./peers.ts";
import { runReplicator } from "./replicator-process.ts";
import { runRival } from "./rival-process.ts";
import type { SitesSeams } from "./seams.ts";
import type { SiteProcess } from "./site.ts";
import type { SiteClock } from "./site-clock.ts";
import type { SitesSwarm } from "./swarm.ts";
import type { Takeover } from "./takeover.ts";
import { runVault } from "./vault-process.ts";

/** What of a world its processes find when they start. */
export interface Stage {
  readonly seed: number;
  readonly prng: Prng;
  readonly swarm: SitesSwarm;
  readonly estate: Estate;
  readonly disks: () => readonly DiskName[];
  readonly group: GroupName;
  readonly network: Network;
  readonly oracle: SitesOracle;
  readonly surroundings: Surroundings;
  readonly takeover: Takeover;
  readonly vault: VaultUnderTest;
  readonly media: { readonly vault: Medium; readonly replicator: Medium };
  readonly clocks: { readonly vault: SiteClock; readonly replicator: SiteClock };
  readonly troubles: { readonly vault: FileTrouble; readonly replicator: FileTrouble };
  readonly seams: SitesSeams;
  readonly isCalm: () => boolean;
  readonly nowMs: () => number;
  /** Told how many points wait in the spool. */
  readonly onWaiting: (points: number) => void;
  readonly tell: (event: string) => void;
}

/** A life of the vault's process. */
export async function vaultProcess(stage: Stage, process: SiteProcess): Promise<void> {
  const { seed, prng, seams, takeover, vault, isCalm, nowMs } = stage;
  const clock = stage.clocks.vault.forLife(process.life);
  const files = filesOf(stage, process, "vault");
  try {
    await runVault(
      {
        ...stage,
        files: seams.vaultFiles(files),
        clock,
        prng: seededPrng(seed * 1_000 + process.number),
        dice: prng,
        chore: (opened) => takeover.look(opened, { isCalm: isCalm(), nowMs: nowMs() }),
        intake: seams.vaultIntake,
        openVault: seams.vault,
      },
      process,
    );
  } finally {
    if (!process.isOver()) vault.kill();
  }
}

/** A life of the replicator's process. */
export function replicatorProcess(stage: Stage, process: SiteProcess): Promise<void> {
  const { seed, prng, estate, group, swarm, oracle, seams, surroundings, isCalm } = stage;
  const clock = stage.clocks.replicator.forLife(process.life);
  const source = simSource({
    estate,
    group,
    disks: stage.disks(),
    clock,
    steps: process.life,
    scratchBlocksMax: swarm.scratchBlocksMax,
    onInstant: (id, images) => {
      oracle.noteInstant(id, images, replicatorPeer.id);
      surroundings.noteInstant(id);
    },
  });
  return runReplicator(
    {
      ...stage,
      files: seams.spoolFiles(filesOf(stage, process, "replicator")),
      source: seams.source(source),
      dial: stage.network.dialFrom(process),
      clock,
      prng: seededPrng(seed * 1_000 + 500 + process.number),
      betweenCycles: () => {
        if (!isCalm() || happens(prng, 0.5)) surroundings.burst();
      },
    },
    process,
  );
}

/** A life of another replicator's process. */
export function rivalProcess(stage: Stage, process: SiteProcess): Promise<void> {
  return runRival(
    {
      ...stage,
      dial: stage.network.dialFrom(process),
      clock: stage.clocks.replicator.forLife(process.life),
      prng: seededPrng(stage.seed * 1_000 + 750 + process.number),
      holder: rivalPeer.id,
      otherHolder: replicatorPeer.id,
    },
    process,
  );
}

function filesOf(stage: Stage, { life }: SiteProcess, site: "vault" | "replicator") {
  const { prng, oracle, isCalm, tell } = stage;
  const told = (misfortune: Misfortune): Misfortune => {
    if (misfortune === "none") return misfortune;
    if (site === "vault" && misfortune === "lost") oracle.points.isDamaged = true;
    if (site === "replicator" && misfortune === "lost") oracle.isSpoolLying = true;
    if (site === "replicator" && misfortune !== "full") oracle.excuseHole();
    oracle.points.excuseResync();
    tell(misfortune);
    return misfortune;
  };
  return simFileSystem({
    medium: stage.media[site],
    clock: stage.clocks[site].forLife(life),
    steps: life,
    strike: (operation, path) => {
      if (isCalm() || life.isFree()) return "none";
      return told(stage.troubles[site].strike(operation, path));
    },
    failSync: (content) => content.failSync(prng),
  });
}

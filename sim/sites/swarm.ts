import type { Prng } from "../../src/base/prng.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { blockSizeBytes, sectorSizeBytes } from "../../src/core/limits.ts";
import { between, happens, pick } from "../chance.ts";
import type { Weather } from "../road.ts";
import type { CrashSeverity } from "../stored-content.ts";
import type { EstateSwarm } from "../surroundings.ts";

/** Where the replicator keeps its spools. */
export const spoolDirectory = "/spool";

/** How a process of one site dies; rates are chances per call of that process. */
export interface CrashSwarm {
  readonly killRate: number;
  /** Calls with this in their labels are more dangerous, at `nearRate`; null: none is. */
  readonly near: string | null;
  readonly nearRate: number;
  readonly powerCutRate: number;
  readonly severity: CrashSeverity;
  /** Until it is started again. */
  readonly awayMsMax: number;
}

/** What a site's files do; rates are chances per call. */
export interface FilesSwarm {
  readonly fullRate: number;
  readonly failRate: number;
  readonly lostSyncRate: number;
  readonly rotRate: number;
}

/** Rates are chances per turn. */
export interface NetworkSwarm {
  readonly weather: Weather;
  readonly cutOneRate: number;
  readonly cutAllRate: number;
  readonly downRate: number;
  readonly downMsMax: number;
  readonly stallRate: number;
  readonly stallMsMax: number;
  readonly silentRate: number;
  readonly revokedRate: number;
  readonly garbageRate: number;
}

/** What one world of two sites does to the product. */
export interface SitesSwarm {
  readonly estate: EstateSwarm;
  readonly intervalSeconds: number;
  readonly stormMs: number;
  /** Longest time that one call takes. */
  readonly callMsMax: number;
  readonly sourceFailRate: number;
  readonly scratchBlocksMax: number;
  readonly network: NetworkSwarm;
  readonly replicator: { readonly crash: CrashSwarm; readonly files: FilesSwarm };
  readonly vault: { readonly crash: CrashSwarm; readonly files: FilesSwarm };
  /** Chance per turn that a wall clock jumps; one of either side. */
  readonly clockJumpRate: number;
  readonly spool: {
    readonly capBytes: number;
    /** Chance that the spool's directory is gone when the replicator starts. */
    readonly goneRate: number;
  };
  readonly channelCount: number;
  readonly codec: "raw" | "zstd";
  readonly syncBytesPerSecondMax: number | null;
  readonly upkeepRate: number;
  readonly pointsMax: number;
  readonly viewRate: number;
  /** Chance per second that the group is handed to another, who writes a point; later it is handed back. */
  readonly takeoverRate: number;
  /** Chance per turn that another replicator tries to write the group. */
  readonly rivalRate: number;
}

/** Draws a world: few misfortunes each, so that each has its consequences before the next. */
export function drawSitesSwarm(prng: Prng): SitesSwarm {
  const swarm = drawAnySwarm(prng);
  return happens(prng, 0.15) ? restoredWhileOwed(swarm) : swarm;
}

/** Images are put back while points wait, some of these are shipped, and others rot: what no single draw brings together. */
function restoredWhileOwed(swarm: SitesSwarm): SitesSwarm {
  const quiet = { killRate: 0, near: null };
  const files = { fullRate: 0, failRate: 0, lostSyncRate: 0, rotRate: 0 };
  const { vault, replicator, network, estate } = swarm;
  return {
    ...swarm,
    stormMs: swarm.intervalSeconds * 14_000,
    estate: {
      ...estate,
      guest: { ...estate.guest, writeRate: 0.1, resizeRate: 0 },
      estate: { ...estate.estate, killRate: 0, stopRate: 0.03, restoreRate: 0.9, rawRate: 0 },
    },
    network: {
      ...network,
      ...{ cutOneRate: 0, cutAllRate: 0, stallRate: 0, silentRate: 0, revokedRate: 0 },
      downRate: 0.03,
      downMsMax: swarm.intervalSeconds * 6_000,
      weather: { ...network.weather, bytesPerSecond: 32 * KIB },
    },
    replicator: {
      crash: { ...replicator.crash, ...quiet },
      files: { ...files, rotRate: 0.01 },
    },
    vault: { crash: { ...vault.crash, ...quiet }, files },
  };
}

function drawAnySwarm(prng: Prng): SitesSwarm {
  const rate = (chance: number, strongest: number) =>
    happens(prng, chance) ? (strongest * between(prng, 10, 100)) / 100 : 0;
  const isDamaging = happens(prng, 0.1);
  const files = (isRotting: boolean): FilesSwarm => ({
    fullRate: rate(0.15, 0.01),
    failRate: rate(0.1, 0.005),
    lostSyncRate: isRotting && isDamaging ? rate(0.5, 0.2) : 0,
    rotRate: isRotting && isDamaging ? rate(0.5, 0.005) : 0,
  });
  const intervalSeconds = pick(prng, [2, 5, 10]);
  return {
    estate: drawEstate(prng, rate),
    intervalSeconds,
    stormMs: intervalSeconds * between(prng, 4, 12) * 1000,
    callMsMax: pick(prng, [0, 0, 2, 20]),
    sourceFailRate: rate(0.2, 0.02),
    scratchBlocksMax: pick(prng, [1, 1000, 1000, 1000]),
    network: drawNetwork(prng, rate),
    replicator: { crash: drawCrash(prng, replicatorCalls, 0.015), files: files(true) },
    vault: { crash: drawCrash(prng, vaultCalls, 0.006), files: files(true) },
    clockJumpRate: rate(0.2, 0.005),
    spool: {
      capBytes: pick(prng, [3 * MIB, 3 * MIB, 64 * MIB]),
      goneRate: rate(0.15, 0.8),
    },
    channelCount: pick(prng, [1, 2, 4]),
    codec: happens(prng, 0.2) ? "zstd" : "raw",
    syncBytesPerSecondMax: pick(prng, [null, null, 128 * KIB]),
    upkeepRate: rate(0.5, 0.5),
    pointsMax: between(prng, 2, 6),
    viewRate: rate(0.3, 0.3),
    takeoverRate: rate(0.12, 0.05),
    rivalRate: rate(0.15, 0.02),
  };
}

type Rate = (chance: number, strongest: number) => number;

function drawEstate(prng: Prng, rate: Rate): EstateSwarm {
  return {
    machines: happens(prng, 0.85) ? 1 : 2,
    disks: happens(prng, 0.7) ? 1 : 2,
    guest: {
      writeRate: 0.02 + rate(0.7, 0.1),
      trimRate: rate(0.3, 0.02),
      resizeRate: rate(0.15, 0.003),
      hotBlocks: between(prng, 1, 3),
    },
    estate: {
      killRate: rate(0.1, 0.003),
      stopRate: rate(0.15, 0.004),
      restoreRate: rate(0.5, 0.8),
      bitmapLossRate: rate(0.1, 0.003),
      regroupRate: 0,
      rawRate: rate(0.1, 0.3),
    },
    clockJumpRate: 0,
    drawSizeBytes: drawSmallSizeBytes,
  };
}

function drawNetwork(prng: Prng, rate: Rate): NetworkSwarm {
  return {
    weather: {
      latencyMs: pick(prng, [0, 1, 25, 150]),
      jitterMs: pick(prng, [0, 0, 5, 200]),
      bytesPerSecond: pick(prng, [null, null, MIB, 256 * KIB, 64 * KIB]),
    },
    cutOneRate: rate(0.3, 0.02),
    cutAllRate: rate(0.3, 0.01),
    downRate: rate(0.5, 0.01),
    downMsMax: pick(prng, [1_000, 10_000, 60_000]),
    stallRate: rate(0.25, 0.01),
    stallMsMax: pick(prng, [1_000, 15_000, 60_000]),
    silentRate: rate(0.1, 0.01),
    revokedRate: rate(0.1, 0.005),
    garbageRate: rate(0.1, 0.005),
  };
}

function drawCrash(prng: Prng, dangerous: readonly string[], strongest: number): CrashSwarm {
  const isCrashing = happens(prng, 0.5);
  return {
    killRate: isCrashing ? (strongest * between(prng, 0, 100)) / 100 : 0,
    near: isCrashing && happens(prng, 0.5) ? pick(prng, dangerous) : null,
    nearRate: pick(prng, [0.03, 0.1]),
    powerCutRate: pick(prng, [0, 0.5, 1]),
    severity: { survivalRate: between(prng, 0, 4) / 4, tearRate: between(prng, 0, 2) / 2 },
    awayMsMax: pick(prng, [100, 5_000, 40_000]),
  };
}

/** Where a kill is most likely to find something half done. */
const vaultCalls = [
  "files.rename",
  "files.sync-directory",
  "/ledger",
  "/base/",
  "/staged/",
  "/incoming/",
] as const;

const replicatorCalls = [
  "files.rename",
  "files.sync",
  "files.remove",
  "/spool/",
  "forget",
  "freeze.transaction",
  "release",
] as const;

/** A disk of a few blocks, often with a short last one, rarely of two windows. */
function drawSmallSizeBytes(prng: Prng): number {
  const blocks = happens(prng, 0.05) ? between(prng, 15, 18) : between(prng, 1, 4);
  const tail = happens(prng, 0.4) ? between(prng, 1, 127) * sectorSizeBytes : 0;
  return blocks * blockSizeBytes + tail;
}

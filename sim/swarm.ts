import type { Prng } from "../src/base/prng.ts";
import { KIB } from "../src/base/units.ts";
import { blockSizeBytes, sectorSizeBytes } from "../src/core/limits.ts";
import { between, happens, pick } from "./chance.ts";
import type { CrashSeverity } from "./stored-content.ts";

/** What one world does to the product. Rates are chances per turn unless said otherwise; 0 switches a misfortune off. */
export interface Swarm {
  readonly machines: number;
  readonly disks: number;
  readonly guest: {
    readonly writeRate: number;
    readonly trimRate: number;
    readonly resizeRate: number;
    /** Most writes go to so many blocks at a disk's start. */
    readonly hotBlocks: number;
  };
  readonly estate: {
    readonly killRate: number;
    readonly stopRate: number;
    /** Chance that a stopped machine's disk is replaced by an older copy of it, or by another disk's, before it starts. */
    readonly restoreRate: number;
    readonly bitmapLossRate: number;
    /** Chance per life that a disk is added to or removed from the group. */
    readonly regroupRate: number;
    readonly rawRate: number;
  };
  readonly source: {
    readonly failRate: number;
    readonly scratchBlocksMax: number;
  };
  readonly files: {
    readonly fullRate: number;
    readonly failRate: number;
    /** Chance that a sync of a delta, the ledger or a directory does nothing and says it did. */
    readonly lostSyncRate: number;
    readonly rotRate: number;
  };
  readonly crash: {
    /** Chance per turn that our process is killed. */
    readonly killRate: number;
    /** Calls with this in their labels are more dangerous, at `nearRate`; null: none is. */
    readonly near: string | null;
    readonly nearRate: number;
    /** Part of the kills that are power cuts. */
    readonly powerCutRate: number;
    readonly severity: CrashSeverity;
  };
  readonly clockJumpRate: number;
  readonly vault: {
    readonly codec: "raw" | "zstd";
    /** Chance per cycle that points are thinned, retired, the base moved, or all files scrubbed. */
    readonly upkeepRate: number;
    readonly pointsMax: number;
    /** Chance per cycle that a view is held open over what follows. */
    readonly viewRate: number;
    /** Cap on reading live disks in a sync, so that time passes meanwhile. */
    readonly syncBytesPerSecondMax: number | null;
  };
}

/** Draws a world: each misfortune is off in about half of them, and of a random strength in the others. */
export function drawSwarm(prng: Prng): Swarm {
  const rate = (strongest: number) =>
    happens(prng, 0.5) ? 0 : (strongest * between(prng, 1, 100)) / 100;
  const isDamaging = happens(prng, 0.15);
  return {
    machines: happens(prng, 0.7) ? 1 : 2,
    disks: between(prng, 1, 3),
    guest: {
      writeRate: 0.02 + rate(0.3),
      trimRate: rate(0.05),
      resizeRate: rate(0.004),
      hotBlocks: between(prng, 1, 8),
    },
    estate: {
      killRate: rate(0.003),
      stopRate: rate(0.004),
      restoreRate: rate(0.8),
      bitmapLossRate: rate(0.002),
      regroupRate: rate(0.6),
      rawRate: rate(0.3),
    },
    source: {
      failRate: rate(0.03),
      scratchBlocksMax: pick(prng, [1, 3, 1000, 1000]),
    },
    files: {
      fullRate: rate(0.004),
      failRate: rate(0.003),
      lostSyncRate: isDamaging ? rate(0.2) : 0,
      rotRate: isDamaging ? rate(0.002) : 0,
    },
    crash: {
      killRate: rate(0.012),
      near: happens(prng, 0.5) ? pick(prng, dangerousCalls) : null,
      nearRate: pick(prng, [0.03, 0.1]),
      powerCutRate: pick(prng, [0, 0.5, 1]),
      severity: { survivalRate: between(prng, 0, 4) / 4, tearRate: between(prng, 0, 2) / 2 },
    },
    clockJumpRate: rate(0.001),
    vault: {
      codec: pick(prng, ["raw", "zstd"]),
      upkeepRate: rate(1),
      pointsMax: between(prng, 1, 5),
      viewRate: rate(0.8),
      syncBytesPerSecondMax: pick(prng, [null, 128 * KIB]),
    },
  };
}

/** Where a kill is most likely to find something half done. */
const dangerousCalls = [
  "files.rename",
  "files.sync-directory",
  "files.remove",
  "/ledger",
  "/base/",
  "/staged/",
  "forget",
  "freeze.transaction",
  "release",
] as const;

const diskBlocks = [
  [2, 6],
  [2, 6],
  [2, 6],
  [2, 6],
  [2, 6],
  [2, 6],
  [14, 20],
  [30, 36],
] as const;

/** A disk's size: a few blocks, or some windows of them, often with a short last one. */
export function drawSizeBytes(prng: Prng): number {
  const [blocksMin, blocksMax] = pick(prng, diskBlocks);
  const blocks = between(prng, blocksMin, blocksMax);
  const tail = happens(prng, 0.4) ? between(prng, 1, 127) * sectorSizeBytes : 0;
  return blocks * blockSizeBytes + tail;
}

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { seededPrng } from "../src/base/prng.ts";
import { GIB, MIB, TIB } from "../src/base/units.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { nbdUri } from "../src/nbd/address.ts";
import { type CycleWorld, cycleWorld } from "./cycle-world.ts";
import { type BenchResult, benchResult, type Figure, figure, median } from "./figures.ts";
import { type BenchOptions, progress, runPairs, type Sample } from "./harness.ts";
import { runProgram } from "./process.ts";
import { overwriteBlocks, spreadBlocks } from "./spread-writes.ts";

/*
 * A cycle costs what changed, not what there is. 64 MiB of changed 64 KiB blocks spread over the whole of a sparse 1 TiB disk
 * ("ours") and of a 4 GiB disk ("peer"): time and memory of the process. Then 1 to 256 MiB changed on a 4 GiB disk that holds
 * 1 GiB, each beside one full copy of that disk by nbdcopy.
 */

const changedBytes = 64 * MIB;
const roundsPerSample = 4;
const sweepMib = [1, 4, 16, 64, 256];
const sweepDiskBytes = 4 * GIB;
const sweepHeldBytes = GIB;
const worker = fileURLToPath(new URL("scale-worker.ts", import.meta.url));

type Name = "duration" | "rss";

/** Runs the bench `scale`. */
export async function scale(_options: BenchOptions): Promise<BenchResult> {
  const runs = await runPairs<Name>({
    name: "scale, 1 TiB beside 4 GiB",
    ours: () => measure(TIB),
    peer: () => measure(4 * GIB),
  });
  const [ours, peer] = [runs.ours, runs.peer];
  const figures: Record<string, Figure> = {
    "time, 1 TiB beside 4 GiB": figure({
      ...{ ours: ours.duration, peer: peer.duration, unit: "ms", better: "smaller", bar: 0.77 },
    }),
    "rss, 1 TiB beside 4 GiB": figure({
      ...{ ours: ours.rss, peer: peer.rss, unit: "MiB", better: "smaller", bar: 0.8 },
    }),
    ...(await sweep()),
  };
  return benchResult("scale", "the same change on a 4 GiB disk; a full copy by nbdcopy", figures);
}

/** The median duration of a few cycles in a process of its own, without the first, and its largest resident size. */
async function measure(diskBytes: number): Promise<Sample<Name>> {
  const words = [diskBytes, changedBytes, roundsPerSample + 1].map(String);
  const run = await runProgram(process.execPath, [worker, ...words]);
  const told: { durationsMs: readonly number[]; rssBytesMax: number } = JSON.parse(run.stdout);
  return { duration: median(told.durationsMs.slice(1)), rss: told.rssBytesMax / MIB };
}

/** What is changed is changed in place: each size is a part of what the disk holds. */
async function sweep(): Promise<Record<string, Figure>> {
  const prng = seededPrng(2);
  await using world = await cycleWorld({ disks: 1, diskBytes: sweepDiskBytes });
  const held = spreadBlocks(prng, sweepDiskBytes, sweepHeldBytes / blockSizeBytes);
  progress("scale: filling the disk");
  await overwriteBlocks(world.guest("d0"), prng, held);
  await world.cycle();
  const figures: Record<string, Figure> = {};
  for (const mib of sweepMib) {
    const step = held.length / ((mib * MIB) / blockSizeBytes);
    const changed = held.filter((_, index) => index % step === 0);
    const runs = await runPairs({
      name: `scale, ${mib} MiB changed`,
      ours: async () => {
        await overwriteBlocks(world.guest("d0"), prng, changed);
        return { duration: (await world.cycle()).durationSeconds * 1000 };
      },
      peer: () => fullCopy(world),
    });
    const { ours, peer } = { ours: runs.ours.duration, peer: runs.peer.duration };
    figures[`${mib} MiB changed, beside a full copy of 1 GiB`] = figure({
      ...{ ours, peer, unit: "ms", better: "smaller", bar: null },
    });
  }
  return figures;
}

async function fullCopy(world: CycleWorld): Promise<Sample<"duration">> {
  const path = join(world.directory, "peer.raw");
  const uri = nbdUri({ path: world.nbdPath }, "d0");
  const run = await runProgram("nbdcopy", ["--flush", "--destination-is-zero", uri, path]);
  await rm(path);
  return { duration: run.durationMs };
}

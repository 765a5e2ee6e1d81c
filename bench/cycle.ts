import { join } from "node:path";
import { seededPrng } from "../src/base/prng.ts";
import { GIB, MIB } from "../src/base/units.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { nbdUri } from "../src/nbd/address.ts";
import { BareCycle } from "./bare-cycle.ts";
import { type CycleWorld, cycleWorld } from "./cycle-world.ts";
import { type BenchResult, benchResult, type Figure, figure, median } from "./figures.ts";
import { type BenchOptions, runPairs } from "./harness.ts";
import { type LibvirtDomain, libvirtDomain } from "./libvirt-domain.ts";
import { runProgram } from "./process.ts";
import { overwriteBlocks, spreadBlocks } from "./spread-writes.ts";

/*
 * Our whole cycle, from asking the vault for its head to the source having forgotten, each with a real freeze and a real sealed
 * file. Empty: beside a bare script that sends the same QMP commands and does nothing else, and beside an incremental of
 * virtnbdbackup (a program that starts each time, as it is used). With 64 MiB changed in 64 KiB writes spread over 4 GiB:
 * from the freeze to the sealed file, beside nbdcopy reading the same extents (the only ones the disk has) into a file with
 * fdatasync. Disks, scratch, vault and the peer's file lie on one file system.
 */

const emptyDiskBytes = GIB;
const changedDiskBytes = 4 * GIB;
const changedBytes = 64 * MIB;
/** Empty cycles are short: each sample is the median of so many. */
const cyclesPerSample = 9;
const pairs = 7;
const smaller = { unit: "ms", better: "smaller" } as const;

/** Runs the bench `cycle`. */
export async function cycle(_options: BenchOptions): Promise<BenchResult> {
  const figures: Record<string, Figure> = {};
  for (const disks of [1, 2, 8]) {
    figures[`empty, ${disks} disk${disks === 1 ? "" : "s"}`] = await emptyBesideScript(disks);
  }
  figures["64 MiB changed, beside nbdcopy"] = await changedBesideNbdcopy();
  await using domain = await libvirtDomain();
  // Where it cannot be installed the figure is absent, and the table says less.
  if (domain !== null) {
    figures["empty, 2 disks, beside virtnbdbackup"] = await emptyBesideVirtnbdbackup(domain);
  }
  return benchResult("cycle", "a bare QMP script, nbdcopy, virtnbdbackup", figures);
}

async function emptyBesideScript(disks: number): Promise<Figure> {
  await using world = await cycleWorld({ disks, diskBytes: emptyDiskBytes });
  const { bare: qmp, directory, nodes } = world;
  const script = new BareCycle({ qmp, directory, nodes, diskBytes: emptyDiskBytes });
  await script.prepare();
  const runs = await runPairs({
    name: `cycle, empty, ${disks} disks`,
    pairs,
    ours: () => medianOf(() => wholeCycleMs(world)),
    peer: () => medianOf(() => script.run()),
  });
  return figure({ ours: runs.ours.durationMs, peer: runs.peer.durationMs, ...smaller, bar: 0.5 });
}

async function changedBesideNbdcopy(): Promise<Figure> {
  const prng = seededPrng(1);
  await using world = await cycleWorld({ disks: 1, diskBytes: changedDiskBytes });
  const blocks = spreadBlocks(prng, changedDiskBytes, changedBytes / blockSizeBytes);
  const change = () => overwriteBlocks(world.guest("d0"), prng, blocks);
  const runs = await runPairs({
    name: "cycle, 64 MiB changed",
    pairs,
    ours: async () => {
      await change();
      const { durationSeconds, phasesMs } = await world.cycle();
      return { durationMs: durationSeconds * 1000 - (phasesMs.forget ?? 0) };
    },
    peer: async () => {
      await change();
      return { durationMs: await nbdcopyMs(world) };
    },
  });
  return figure({ ours: runs.ours.durationMs, peer: runs.peer.durationMs, ...smaller, bar: 0.5 });
}

async function emptyBesideVirtnbdbackup(domain: LibvirtDomain): Promise<Figure> {
  await using world = await cycleWorld({ disks: 2, diskBytes: emptyDiskBytes });
  const runs = await runPairs({
    name: "cycle, beside virtnbdbackup",
    ours: () => medianOf(() => wholeCycleMs(world)),
    peer: async () => ({ durationMs: await domain.incremental() }),
  });
  return figure({ ours: runs.ours.durationMs, peer: runs.peer.durationMs, ...smaller, bar: 15 });
}

async function wholeCycleMs(world: CycleWorld): Promise<number> {
  return (await world.cycle()).durationSeconds * 1000;
}

async function medianOf(run: () => Promise<number>): Promise<{ durationMs: number }> {
  const values: number[] = [];
  for (let round = 0; round < cyclesPerSample; round += 1) values.push(await run());
  return { durationMs: median(values) };
}

let copies = 0;

async function nbdcopyMs(world: CycleWorld): Promise<number> {
  // A file more each time, as a vault has it: memory that a removed file gave back would make the next write cheaper.
  copies += 1;
  const path = join(world.directory, `peer-${copies}.raw`);
  const uri = nbdUri({ path: world.nbdPath }, "d0");
  return (await runProgram("nbdcopy", ["--flush", "--destination-is-zero", uri, path])).durationMs;
}

import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { MIB } from "../src/base/units.ts";
import { type BenchResult, benchResult, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, progress, runPairs } from "./harness.ts";
import { makeIdentities } from "./link-identities.ts";
import { copyOnce, diskBytes, makeDisk, shipOnce, startDaemon } from "./link-sites.ts";

const rssBytesLimit = 300 * MIB;

/**
 * 2 GiB from qemu-storage-daemon to a sealed, hashed delta in a vault's directory over mutually authenticated TLS 1.3 on
 * loopback, two processes, against nbdcopy from the same daemon over TLS into nbdkit's file plugin, flushed. Ours counts from
 * connecting to the answer to the seal, inside running processes; nbdcopy from its start to its end.
 */
export async function ship(_options: BenchOptions): Promise<BenchResult> {
  const cache = join(process.cwd(), "node_modules", ".cache");
  await nodeFileSystem().makeDirectory(cache);
  const directory = await mkdtemp(join(cache, ".afterimage-bench-ship-"));
  try {
    progress("ship: preparing 2 GiB of random data");
    await makeDisk(join(directory, "disk.raw"));
    await makeIdentities(directory);
    const socketPath = join(directory, "nbd.sock");
    await using _daemon = await startDaemon(join(directory, "disk.raw"), socketPath);
    const places = { socketPath, identities: directory };
    const rate = (durationMs: number): number => diskBytes / MIB / (durationMs / 1000);
    const runs = await runPairs<"throughput" | "rss" | "vaultRss">({
      name: "ship",
      steady: { by: "throughput", spreadMax: 0.4 },
      ours: async () => {
        const run = await shipOnce({ ...places, directory: join(directory, "vault") });
        const [rss, vaultRss] = [run.rssBytes / MIB, run.vaultRssBytes / MIB];
        progress(`ship: ours ${Math.round(rate(run.durationMs))} MiB/s`);
        return { throughput: rate(run.durationMs), rss, vaultRss };
      },
      peer: async () => {
        const run = await copyOnce({ ...places, directory: join(directory, "copy") });
        progress(`ship: peer ${Math.round(rate(run.durationMs))} MiB/s`);
        return { throughput: rate(run.durationMs), rss: run.rssBytes / MIB, vaultRss: 0 };
      },
    });
    const limit = rssBytesLimit / MIB;
    return benchResult("ship", "nbdcopy over TLS into nbdkit file, flushed", {
      throughput: figure({
        ours: runs.ours.throughput,
        peer: runs.peer.throughput,
        unit: "MiB/s",
        better: "larger",
        bar: 1,
      }),
      "sender's rss, beside its limit": limitFigure({ ours: runs.ours.rss, limit, unit: "MiB" }),
      "vault's rss, beside its limit": limitFigure({
        ours: runs.ours.vaultRss,
        limit,
        unit: "MiB",
      }),
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { MIB } from "../src/base/units.ts";
import { type BenchResult, benchResult, type Figure, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, pairsMin, progress } from "./harness.ts";
import { makeIdentities } from "./link-identities.ts";
import { diskBytes, makeDisk, type Shipment, shipOnce, startDaemon } from "./link-sites.ts";
import { startRelay } from "./wan-relay.ts";

const roundTripMs = 50;
const bitsPerSecond = 500_000_000;
const capMibPerSecond = bitsPerSecond / 8 / MIB;

/**
 * `ship` through a relay in the bench's own process with a round trip of 50 ms and 500 Mbit/s over all connections, and the same
 * with each connection reset after 1 to 3 s. What arrives again although the vault had acknowledged it is counted at the vault.
 */
export async function wan(_options: BenchOptions): Promise<BenchResult> {
  const cache = join(process.cwd(), "node_modules", ".cache");
  await nodeFileSystem().makeDirectory(cache);
  const directory = await mkdtemp(join(cache, ".afterimage-bench-wan-"));
  try {
    progress("wan: preparing 2 GiB of random data");
    await makeDisk(join(directory, "disk.raw"));
    await makeIdentities(directory);
    const socketPath = join(directory, "nbd.sock");
    await using _daemon = await startDaemon(join(directory, "disk.raw"), socketPath);
    const run = (cutSeed: number | null): Promise<Shipment> =>
      shipOnce({
        socketPath,
        identities: directory,
        directory: join(directory, "vault"),
        relay: (port) =>
          startRelay({
            port,
            roundTripMs,
            bitsPerSecond,
            cutAfterMs: cutSeed === null ? null : { min: 1000, max: 3000, seed: cutSeed },
          }),
      });
    const figures: Record<string, Figure> = {};
    for (const isCut of [false, true]) {
      const name = isCut ? "each connection cut after 1 to 3 s" : "undisturbed";
      const shipments: Shipment[] = [];
      for (let count = 1; count <= pairsMin; count += 1) {
        const shipment = await run(isCut ? count : null);
        progress(`wan: ${name}: ${Math.round(rateOf(shipment))} MiB/s`);
        shipments.push(shipment);
      }
      figures[name] = figure({
        ours: shipments.map(rateOf),
        peer: capMibPerSecond,
        unit: "MiB/s",
        better: "larger",
        bar: isCut ? 0.7 : 0.9,
      });
      figures[`${name}: sent again`] = mibFigure(shipments.map((at) => at.resentBytes));
      figures[`${name}: acknowledged and sent again`] = noneFigure(shipments);
      figures[`${name}: sender's rss, beside its limit`] = limitFigure({
        ours: shipments.map((at) => at.rssBytes / MIB),
        limit: 300,
        unit: "MiB",
      });
      figures[`${name}: vault's rss, beside its limit`] = limitFigure({
        ours: shipments.map((at) => at.vaultRssBytes / MIB),
        limit: 300,
        unit: "MiB",
      });
    }
    return benchResult("wan", "the relay's cap", figures);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function rateOf({ durationMs }: Shipment): number {
  return diskBytes / MIB / (durationMs / 1000);
}

/** Reported beside all that was shipped. */
function mibFigure(bytes: readonly number[]): Figure {
  const ours = bytes.map((at) => at / MIB);
  return figure({ ours, peer: diskBytes / MIB, unit: "MiB", better: "smaller", bar: null });
}

/** One acknowledged byte that was sent again is one too many. */
function noneFigure(shipments: readonly Shipment[]): Figure {
  const bytes = Math.max(...shipments.map((at) => at.repeatedBytes));
  return { ours: bytes, peer: 0, unit: "B", ratio: bytes === 0 ? 1 : 0, bar: 1, ok: bytes === 0 };
}

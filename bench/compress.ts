import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { KIB, MIB } from "../src/base/units.ts";
import type { DiskIdentity, DiskName, GroupName, PointId } from "../src/core/ids.ts";
import type { PointHeader } from "../src/core/point.ts";
import { createDelta } from "../src/delta/writer.ts";
import type { Codec } from "../src/format/codec.ts";
import { type Corpus, makeCorpora } from "./compress-corpora.ts";
import { type BenchResult, benchResult, type Figure, figure } from "./figures.ts";
import { type BenchOptions, runPairs } from "./harness.ts";

const writesInFlight = 8;
const files = nodeFileSystem();

/** Savings that are published for products of this kind, in percent; of media it is said that there is less than this. */
const publishedPercent: Readonly<Record<Corpus["name"], { is: number; bar: number | null }>> = {
  text: { is: 30, bar: 1 },
  database: { is: 10, bar: 1 },
  media: { is: 10, bar: null },
  mixed: { is: 20, bar: 1 },
};

/**
 * What compression saves and costs: the same corpus through the delta writer with zstd and without, in 1 MiB chunks as a sync
 * writes them, and in the single 64 KiB blocks of a cycle. The saving is of whole delta files, hashes and index included.
 */
export async function compress(_options: BenchOptions): Promise<BenchResult> {
  const figures: Record<string, Figure> = {};
  const directory = await mkdtemp(join(tmpdir(), "afb-compress-"));
  try {
    for (const corpus of await makeCorpora()) {
      for (const chunkBytes of [MIB, 64 * KIB]) {
        Object.assign(figures, await compressed(corpus, { chunkBytes, directory }));
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return benchResult("compress", "the saving published; the same deltas without zstd", figures);
}

async function compressed(
  { name, bytes }: Corpus,
  { chunkBytes, directory }: { readonly chunkBytes: number; readonly directory: string },
): Promise<Readonly<Record<string, Figure>>> {
  const title = `${name}, ${chunkBytes / KIB} KiB`;
  const path = join(directory, "delta");
  const runs = await runPairs({
    name: `compress: ${title}`,
    ours: () => written(path, bytes, { codec: "zstd", chunkBytes }),
    peer: () => written(path, bytes, { codec: "raw", chunkBytes }),
  });
  const savedPercent = (1 - runs.ours.storedBytes[0]! / runs.peer.storedBytes[0]!) * 100;
  const published = publishedPercent[name];
  // A cycle's single blocks are no part of what is published.
  const bar = chunkBytes === MIB ? published.bar : null;
  const [ours, peer] = [runs.ours, runs.peer];
  return {
    [`${title}, saved`]: figure({
      ours: savedPercent,
      peer: published.is,
      unit: "%",
      better: "larger",
      bar,
    }),
    [`${title}, CPU per GiB`]: figure({
      ours: ours.cpuSeconds,
      peer: peer.cpuSeconds,
      unit: "s",
      better: "smaller",
      bar: null,
    }),
    [`${title}, throughput`]: figure({
      ours: ours.throughput,
      peer: peer.throughput,
      unit: "MiB/s",
      better: "larger",
      bar: null,
    }),
  };
}

/** Writes the corpus as one delta file; its size, and processor time of all threads for each GiB. */
async function written(
  path: string,
  bytes: Uint8Array,
  { codec, chunkBytes }: { readonly codec: Codec; readonly chunkBytes: number },
): Promise<{ storedBytes: number; cpuSeconds: number; throughput: number }> {
  const { signal } = new AbortController();
  const cpuAtStart = process.cpuUsage();
  const startedAtMs = performance.now();
  const header = headerOf(bytes.length);
  await using writer = await createDelta({ files, path, header, codec, signal });
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < bytes.length) {
      const at = next;
      next += chunkBytes;
      await writer.write(0, at, bytes.subarray(at, Math.min(at + chunkBytes, bytes.length)));
    }
  };
  await Promise.all(Array.from({ length: writesInFlight }, lane));
  const { sizeBytes } = await writer.finish();
  const { user, system } = process.cpuUsage(cpuAtStart);
  const seconds = (performance.now() - startedAtMs) / 1000;
  await files.remove(path);
  const mebibytes = bytes.length / MIB;
  return {
    storedBytes: sizeBytes,
    cpuSeconds: ((user + system) / 1e6 / mebibytes) * 1024,
    throughput: mebibytes / seconds,
  };
}

function headerOf(sizeBytes: number): PointHeader {
  return {
    id: "0000000000000001" as PointId,
    group: "bench" as GroupName,
    generation: { number: 1, holder: "0000000000000001" },
    sequence: 1,
    fromSequence: 0,
    fromPoint: null,
    instant: { lowerMs: 0, upperMs: 0, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [
      {
        name: "bench/disk" as DiskName,
        identity: "0000000000000001" as DiskIdentity,
        sizeBytes,
        previousSizeBytes: null,
      },
    ],
    machines: [],
    notes: [],
  };
}

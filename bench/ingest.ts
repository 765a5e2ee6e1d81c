import { mkdtemp, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { KIB, MIB } from "../src/base/units.ts";
import type { DiskIdentity, DiskName, GroupName, PointId } from "../src/core/ids.ts";
import type { PointHeader } from "../src/core/point.ts";
import { AppendStream } from "../src/delta/append-stream.ts";
import { createDelta } from "../src/delta/writer.ts";
import { type BenchResult, benchResult, type Figure, figure, spread } from "./figures.ts";
import { type BenchOptions, progress, runPairs } from "./harness.ts";

const totalBytes = 1024 * MIB;
/** More than any cache holds, so that each chunk comes from memory as a source's would. */
const sourceBytes = 64 * MIB;
const writesInFlight = 8;
/** A peer that varies more than this is measured again. */
const spreadMax = 0.3;
/** statfs(2) of a tmpfs. */
const tmpfsType = 0x01021994;

const files = nodeFileSystem();

/**
 * 1 GiB of chunks to a sealed delta: hashed, indexed, written, durable. The peer writes the same bytes through the same
 * buffers with the same fdatasync, hashes nothing and keeps no index.
 */
export async function ingest(_options: BenchOptions): Promise<BenchResult> {
  const source = new Uint8Array(sourceBytes);
  for (let at = 0; at < source.length; at += 64 * KIB) {
    crypto.getRandomValues(source.subarray(at, at + 64 * KIB));
  }
  const figures: Record<string, Figure> = {};
  for (const place of await places()) {
    const bar = place.name === "disk" ? 0.8 : null;
    for (const chunkBytes of [MIB, 64 * KIB]) {
      const name = `${place.name}, ${chunkBytes / KIB} KiB chunks`;
      await using room = await temporaryRoom(place.directory);
      const runs = await runPairs({
        name: `ingest: ${name}`,
        ours: () => timed(room.path, (path) => seal(path, source, chunkBytes)),
        peer: () => timed(room.path, (path) => writePlainly(path, source, chunkBytes)),
        steady: { by: "throughput", spreadMax },
      });
      const [ours, peer] = [runs.ours.throughput, runs.peer.throughput];
      figures[name] = figure({ ours, peer, unit: "MiB/s", better: "larger", bar });
      const spreads = { ours: spread(ours), peer: spread(peer) };
      figures[`${name}, spread`] = figure({ ...spreads, unit: "", better: "smaller", bar: null });
    }
  }
  return benchResult("ingest", "the same writes without hashes", figures);
}

/** Where to write: a tmpfs where there is one, and the disk that holds the working directory. */
async function places(): Promise<readonly { name: string; directory: string }[]> {
  // Beside the packages: on the disk of the working directory, and nothing that git would see.
  const directory = join(process.cwd(), "node_modules", ".cache");
  await files.makeDirectory(directory);
  const found = [{ name: "disk", directory }];
  if ((await statfs(process.cwd())).type === tmpfsType) {
    progress("ingest: the working directory is a tmpfs, so `disk` is none");
  }
  const shared = await statfs("/dev/shm").catch(() => null);
  if (shared?.type === tmpfsType && shared.bavail * shared.bsize > 2 * totalBytes) {
    found.push({ name: "tmpfs", directory: "/dev/shm" });
  }
  return found;
}

async function temporaryRoom(directory: string): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(directory, ".afterimage-bench-ingest-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

async function timed(
  directory: string,
  write: (path: string) => Promise<void>,
): Promise<{ throughput: number }> {
  const path = join(directory, "part");
  const startedAtMs = performance.now();
  await write(path);
  const seconds = (performance.now() - startedAtMs) / 1000;
  await files.remove(path);
  return { throughput: totalBytes / MIB / seconds };
}

async function seal(path: string, source: Uint8Array, chunkBytes: number): Promise<void> {
  const { signal } = new AbortController();
  await using writer = await createDelta({ files, path, header, codec: "raw", signal });
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < totalBytes) {
      const offsetBytes = next;
      next += chunkBytes;
      await writer.write(0, offsetBytes, chunkOf(source, offsetBytes, chunkBytes));
    }
  };
  await Promise.all(Array.from({ length: writesInFlight }, lane));
  await writer.finish();
}

async function writePlainly(path: string, source: Uint8Array, chunkBytes: number): Promise<void> {
  await using file = await files.open(path, "create");
  const stream = new AppendStream(file);
  const list = new Uint8Array((chunkBytes / (64 * KIB)) * 32);
  const underWay: Promise<void>[] = [];
  for (let offsetBytes = 0; offsetBytes < totalBytes; offsetBytes += chunkBytes) {
    const chunk = chunkOf(source, offsetBytes, chunkBytes);
    await stream.append(list);
    if (chunkBytes < MIB) {
      await stream.append(chunk);
      continue;
    }
    underWay.push(stream.appendInPlace(chunk).written);
    if (underWay.length === writesInFlight) await underWay.shift();
  }
  await Promise.all(underWay);
  await stream.flush();
  await file.sync();
}

function chunkOf(source: Uint8Array, offsetBytes: number, chunkBytes: number): Uint8Array {
  const at = offsetBytes % sourceBytes;
  return source.subarray(at, at + chunkBytes);
}

const header: PointHeader = {
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
      sizeBytes: totalBytes,
      previousSizeBytes: null,
    },
  ],
  machines: [],
  notes: [],
};

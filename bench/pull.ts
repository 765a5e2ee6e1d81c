import { spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { access, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GIB, MIB } from "../src/base/units.ts";
import { nbdUri } from "../src/nbd/address.ts";
import { type BenchResult, benchResult, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, progress, runPairs } from "./harness.ts";
import { runProgram } from "./process.ts";

/*
 * Our client reading 2 GiB of random data out of a qcow2 that qemu-storage-daemon serves on a unix socket, against nbdcopy
 * doing the same. Ours is counted from connecting to the last byte inside a running process, as the replicator is one;
 * nbdcopy from start to end, which for it is a few milliseconds more. `whole process` counts the start of Node too.
 */

const diskBytes = 2 * GIB;
const rssBytesLimit = 300 * MIB;
const exportName = "disk";
const reader = fileURLToPath(new URL("./pull-reader.ts", import.meta.url));

/** Runs the bench `pull`. */
export async function pull(_options: BenchOptions): Promise<BenchResult> {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-bench-pull-"));
  try {
    await makeImage(directory);
    await using daemon = await startDaemon(directory);
    const runs = await runPairs<"throughput" | "wholeProcess" | "rss">({
      name: "pull",
      pairs: 9, // Cheap, and one pair says little where others use the same two cores.
      steady: { by: "throughput", spreadMax: 0.6 },
      ours: () => measureOurs(daemon.socketPath),
      peer: () => measurePeer(daemon.socketPath),
    });
    const throughputs = { unit: "MiB/s", better: "larger" } as const;
    return benchResult("pull", "nbdcopy ... null:", {
      throughput: figure({
        ours: runs.ours.throughput,
        peer: runs.peer.throughput,
        ...throughputs,
        bar: 0.9,
      }),
      "whole process": figure({
        ours: runs.ours.wholeProcess,
        peer: runs.peer.wholeProcess,
        ...throughputs,
        bar: null,
      }),
      "rss, beside its limit": limitFigure({
        ours: runs.ours.rss,
        limit: rssBytesLimit / MIB,
        unit: "MiB",
      }),
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measureOurs(socketPath: string) {
  const run = await runProgram(process.execPath, [reader, socketPath, exportName]);
  const told: {
    readonly sizeBytes: number;
    readonly durationMs: number;
    readonly rssBytes: number;
  } = JSON.parse(run.stdout);
  return {
    throughput: rateMibPerSecond(told.durationMs),
    wholeProcess: rateMibPerSecond(run.durationMs),
    rss: told.rssBytes / MIB,
  };
}

async function measurePeer(socketPath: string) {
  const run = await runProgram("nbdcopy", [nbdUri({ path: socketPath }, exportName), "null:"]);
  const rate = rateMibPerSecond(run.durationMs);
  return { throughput: rate, wholeProcess: rate, rss: run.rssBytesMax / MIB };
}

function rateMibPerSecond(durationMs: number): number {
  return diskBytes / MIB / (durationMs / 1000);
}

/** Random data: nothing in it compresses, is a hole or reads as zero. */
async function makeImage(directory: string): Promise<void> {
  progress("pull: preparing 2 GiB of random data");
  const rawPath = join(directory, "disk.raw");
  await pipeline(randomChunks(), createWriteStream(rawPath));
  await runProgram("qemu-img", [
    "convert",
    "-O",
    "qcow2",
    "-f",
    "raw",
    rawPath,
    imagePath(directory),
  ]);
  await rm(rawPath);
}

function* randomChunks(): Generator<Buffer> {
  for (let doneBytes = 0; doneBytes < diskBytes; doneBytes += 4 * MIB) {
    yield randomFillSync(Buffer.allocUnsafe(4 * MIB));
  }
}

function imagePath(directory: string): string {
  return join(directory, "disk.qcow2");
}

async function startDaemon(
  directory: string,
): Promise<AsyncDisposable & { readonly socketPath: string }> {
  const socketPath = join(directory, "nbd.sock");
  const file = `file.driver=file,file.filename=${imagePath(directory)}`;
  const daemon = spawn(
    "qemu-storage-daemon",
    [
      ...["--blockdev", `driver=qcow2,node-name=disk,read-only=on,${file}`],
      ...["--nbd-server", `addr.type=unix,addr.path=${socketPath},max-connections=0`],
      ...["--export", `type=nbd,id=export,node-name=disk,name=${exportName},writable=off`],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const exited = once(daemon, "exit");
  while (!(await isThere(socketPath))) await Promise.race([sleep(10), exited.then(failedToStart)]);
  return {
    socketPath,
    [Symbol.asyncDispose]: async () => {
      daemon.kill();
      await exited;
    },
  };
}

function failedToStart(): never {
  throw new Error("qemu-storage-daemon ended before it listened");
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GIB, MIB } from "../src/base/units.ts";
import { groupLayout } from "../src/journal/vault-layout.ts";
import { nbdUri } from "../src/nbd/address.ts";
import { type BenchResult, benchResult, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, pairsMin, progress, runPairs } from "./harness.ts";
import { runProgram } from "./process.ts";
import { benchGroup, makeFewDeltas, makeManyDeltas } from "./view-vault.ts";

/*
 * Two questions. How long until a view over 10,000 deltas with 1,000,000 extents gives its first byte, and what does it cost
 * in memory: counted in a process of its own that has read the ledger, as a running vault has; the ledger's own time is
 * shown beside. And how fast is a point through our NBD server, every byte hashed, against qemu-nbd with the same bytes raw:
 * nbdcopy from end to end, and fio's nbd engine with random reads of 4 KiB, 16 at a time. While a server runs a bit of its
 * vault is flipped: the next copy must fail, and succeed again when the bit is back.
 */

const diskBytes = GIB;
const manyDeltas = { deltas: 10_000, extentsEach: 100 };
const openMsLimit = 400;
const rssBytesLimit = 200 * MIB;
const exportName = "disk";
const randomSeconds = 5;
const beside = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** Runs the bench `view`. */
export async function view(_options: BenchOptions): Promise<BenchResult> {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-bench-view-"));
  try {
    const opened = await benchOpening(directory);
    const served = await benchServing(directory);
    return benchResult("view", "qemu-nbd serving the same bytes raw; a limit for opening", {
      ...opened,
      ...served,
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function benchOpening(directory: string) {
  const vault = join(directory, "many");
  progress(`view: making ${manyDeltas.deltas} deltas (minutes)`);
  await makeManyDeltas(vault, manyDeltas);
  // As the command runs: compiled code is kept from one start to the next (bin/afterimage).
  const environment = { NODE_COMPILE_CACHE: join(directory, "compiled") };
  const samples: { ledgerMs: number; openMs: number; rssBytes: number }[] = [];
  for (let run = 0; run <= pairsMin; run += 1) {
    progress(`view: opening ${run === 0 ? "warm-up" : `${run} of ${pairsMin}`}`);
    const { stdout } = await runProgram(process.execPath, [beside("view-opener.ts"), vault], {
      environment,
    });
    if (run > 0) samples.push(JSON.parse(stdout));
  }
  await rm(vault, { recursive: true });
  const openMs = samples.map((sample) => sample.openMs);
  const ledgerMs = samples.map((sample) => sample.ledgerMs);
  return {
    "open to first byte": limitFigure({ ours: openMs, limit: openMsLimit, unit: "ms" }),
    "ledger, before it": figure({
      ours: ledgerMs,
      peer: openMsLimit,
      unit: "ms",
      better: "smaller",
      bar: null,
    }),
    "rss, ledger and view": limitFigure({
      ours: samples.map((sample) => sample.rssBytes / MIB),
      limit: rssBytesLimit / MIB,
      unit: "MiB",
    }),
  };
}

async function benchServing(directory: string) {
  const vault = join(directory, "few");
  progress("view: making a point of 1 GiB");
  await makeFewDeltas(vault, { sizeBytes: diskBytes, deltas: 8 });
  const rawPath = join(directory, "disk.raw");
  {
    await using ours = await serveOurs(vault, join(directory, "copy.sock"));
    await runProgram("nbdcopy", [ours.uri, rawPath]);
  }
  let turn = 0;
  const measured = async (serve: (socketPath: string) => Promise<Served>) => {
    turn += 1;
    await using server = await serve(join(directory, `${turn}.sock`));
    return { sequential: await sequential(server.uri), random: await random(server.uri) };
  };
  const runs = await runPairs({
    name: "view",
    ours: () => measured((socketPath) => serveOurs(vault, socketPath)),
    peer: () => measured((socketPath) => serveRaw(rawPath, socketPath)),
  });
  const found = await flippedBitIsFound(vault, join(directory, "flip.sock"));
  return {
    sequential: figure({
      ours: runs.ours.sequential,
      peer: runs.peer.sequential,
      unit: "MiB/s",
      better: "larger",
      bar: 0.3,
    }),
    "random 4 KiB, 16 at a time": figure({
      ours: runs.ours.random,
      peer: runs.peer.random,
      unit: "reads/s",
      better: "larger",
      bar: 0.2,
    }),
    "flipped bits found": figure({
      ours: found ? 1 : 0,
      peer: 1,
      unit: "of 1",
      better: "larger",
      bar: 1,
    }),
  };
}

/** MiB a second from end to end. */
async function sequential(uri: string): Promise<number> {
  const { durationMs } = await runProgram("nbdcopy", [uri, "null:"]);
  return diskBytes / MIB / (durationMs / 1000);
}

/** Reads of 4 KiB a second. */
async function random(uri: string): Promise<number> {
  const { stdout } = await runProgram("fio", [
    "--name=random",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--rw=randread",
    "--bs=4k",
    "--iodepth=16",
    `--size=${diskBytes}`,
    "--time_based",
    `--runtime=${randomSeconds}`,
    "--output-format=json",
  ]);
  // The engine writes a line of its own before the report.
  const report: { readonly jobs: readonly { readonly read: { readonly iops: number } }[] } =
    JSON.parse(stdout.slice(stdout.indexOf("{")));
  return report.jobs[0]!.read.iops;
}

interface Served extends AsyncDisposable {
  readonly uri: string;
}

function serveOurs(vault: string, socketPath: string): Promise<Served> {
  const programArguments = [beside("view-server.ts"), vault, socketPath, exportName];
  return serve(spawn(process.execPath, programArguments, { stdio: quiet }), socketPath);
}

function serveRaw(rawPath: string, socketPath: string): Promise<Served> {
  const how = ["--persistent", "--shared=16", "--read-only", "--format=raw"];
  const programArguments = [...how, `--socket=${socketPath}`, `--export-name=${exportName}`];
  return serve(spawn("qemu-nbd", [...programArguments, rawPath], { stdio: quiet }), socketPath);
}

const quiet: ["ignore", "ignore", "inherit"] = ["ignore", "ignore", "inherit"];

async function serve(child: ChildProcess, socketPath: string): Promise<Served> {
  const ended = once(child, "exit");
  const failed = ended.then(() => {
    throw new Error("the NBD server ended before it listened");
  });
  failed.catch(() => {}); // After it listened nobody waits for this.
  while (!(await isThere(socketPath))) await Promise.race([sleep(10), failed]);
  return {
    uri: nbdUri({ path: socketPath }, exportName),
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await ended;
    },
  };
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Whether a copy from a running server fails once a bit of a chunk has flipped, and only as long as it has. */
async function flippedBitIsFound(vault: string, socketPath: string): Promise<boolean> {
  await using server = await serveOurs(vault, socketPath);
  const copies = () =>
    runProgram("nbdcopy", [server.uri, "null:"]).then(
      () => true,
      () => false,
    );
  if (!(await copies())) return false;
  await flipBitInTheMiddle(vault);
  const copiesDamaged = await copies();
  await flipBitInTheMiddle(vault);
  return !copiesDamaged && (await copies());
}

/** In the middle of a delta of many mebibytes there are chunks and nothing else. */
async function flipBitInTheMiddle(vault: string): Promise<void> {
  const { deltas } = groupLayout(vault, benchGroup);
  const [name] = (await readdir(deltas)).toSorted();
  const path = join(deltas, name!);
  const at = Math.floor((await stat(path)).size / 2);
  await using file = await open(path, "r+");
  const byte = new Uint8Array(1);
  await file.read(byte, 0, 1, at);
  byte[0] = byte[0]! ^ 0x08;
  await file.write(byte, 0, 1, at);
}

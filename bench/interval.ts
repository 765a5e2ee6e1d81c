import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { seededPrng, systemPrng } from "../src/base/prng.ts";
import { GIB, MIB } from "../src/base/units.ts";
import type { MachineName } from "../src/core/ids.ts";
import type { CycleReport } from "../src/engine/cycle-report.ts";
import { fixedInterval, type IntervalPolicy } from "../src/engine/interval.ts";
import { adaptiveInterval } from "../src/engine/pace-interval.ts";
import { runGroup } from "../src/engine/run.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { initVault, openVault } from "../src/journal/vault.ts";
import { ownSocketFile } from "../src/qemu/own-names.ts";
import { type Guest, type TestHost, testGroup, testHost } from "../src/source/qemu/test-guest.ts";
import { type BenchResult, benchResult, type Figure, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, progress } from "./harness.ts";

/*
 * One load at several intervals, in one process: random 4 KiB writes of 4 MB/s over 128 MiB, so that blocks of 64 KiB are written
 * again and again and a longer interval sends fewer. fio writes, in a process of its own, through the export of a storage daemon; the
 * processor time is that of ours alone. The last row lets the interval follow a target instead.
 */

const intervalsSeconds = [1, 2, 5, 10, 30] as const;
const targetRpoSeconds = 5;
const disks = [{ name: "data", sizeBytes: GIB }];
const regionBytes = 128 * MIB;
const bytesPerSecond = 4_000_000;
/** The first points after a start carry what was written before it. */
const warmUpPoints = 2;
const loadSecondsMin = 60;
/** So that a long interval is seen a few times. */
const intervalsMin = 4;

interface Measured {
  readonly storedBytesPerSecond: number;
  readonly cpuShare: number;
  readonly rpoSeconds: number;
}

/** Runs the bench `interval`. */
export async function interval(_options: BenchOptions): Promise<BenchResult> {
  const figures: Record<string, Figure> = {};
  let first: Measured | null = null;
  for (const seconds of intervalsSeconds) {
    const loadSeconds = Math.max(loadSecondsMin, intervalsMin * seconds);
    const measured = await underLoad(`${seconds} s`, fixedInterval(seconds), loadSeconds);
    first ??= measured;
    Object.assign(figures, rows(`every ${seconds} s`, measured, first));
  }
  const bounds = { intervalMinSeconds: 0.5, intervalMaxSeconds: 60 };
  const policy = adaptiveInterval({ targetRpoSeconds, ...bounds });
  const adaptive = await underLoad(`target ${targetRpoSeconds} s`, policy, loadSecondsMin);
  const title = `target ${targetRpoSeconds} s`;
  Object.assign(figures, rows(title, adaptive, first ?? adaptive), {
    [`${title}: RPO p99, beside the target`]: limitFigure({
      ...{ ours: adaptive.rpoSeconds, limit: targetRpoSeconds, unit: "s" },
    }),
  });
  return benchResult("interval", "the same load every 1 s, or what is named", figures);
}

function rows(
  title: string,
  measured: Measured,
  first: Measured,
): Readonly<Record<string, Figure>> {
  const row = (ours: number, peer: number, unit: string) =>
    figure({ ours, peer, unit, better: "smaller", bar: null });
  return {
    [`${title}: journal`]: row(
      measured.storedBytesPerSecond / MIB,
      first.storedBytesPerSecond / MIB,
      "MiB/s",
    ),
    [`${title}: CPU`]: row(measured.cpuShare * 100, first.cpuShare * 100, "% of a core"),
    [`${title}: RPO p99`]: row(measured.rpoSeconds, first.rpoSeconds, "s"),
  };
}

async function underLoad(
  title: string,
  policy: IntervalPolicy,
  loadSeconds: number,
): Promise<Measured> {
  await using opening = new AsyncDisposableStack();
  const host = opening.use(await testHost());
  await host.createImages("db", disks);
  const guest = await host.start("db", disks);
  await fill(guest);
  const [clock, prng, files] = [systemClock(), systemPrng(), nodeFileSystem()];
  const directory = join(host.directory, "vault");
  await initVault(files, directory, { clock, prng });
  const locks = sqliteLocks();
  const vault = opening.use(
    await openVault({ files, directory, mode: "write", locks, clock, prng }),
  );
  await vault.createGroup(testGroup);
  const journal = opening.use(await vault.journal(testGroup));
  const source = opening.use(host.source({ db: disks }));
  const stop = new AbortController();
  const reports: CycleReport[] = [];
  const run = runGroup({
    ...{ source, journal, clock, prng, signal: stop.signal, intervalSeconds: 1, interval: policy },
    group: { name: testGroup, holder: "00000000000000aa" },
    onEvent: (event) => {
      if (event.type === "cycle") reports.push(event.report);
    },
  });
  try {
    progress(`interval, ${title}: ${loadSeconds} s of load`);
    const load = startLoad(host);
    while (reports.length < warmUpPoints) await clock.sleep(50);
    const [fromMs, cpuBefore, from] = [clock.monotonicMs(), process.cpuUsage(), reports.length];
    await clock.sleep(loadSeconds * 1000);
    const cpu = process.cpuUsage(cpuBefore);
    const tookSeconds = (clock.monotonicMs() - fromMs) / 1000;
    const seen = reports.slice(from);
    load.kill("SIGKILL");
    await once(load, "close");
    const storedBytes = seen.reduce((sum, { storedBytes: bytes }) => sum + bytes, 0);
    return {
      storedBytesPerSecond: storedBytes / tookSeconds,
      cpuShare: (cpu.user + cpu.system) / 1e6 / tookSeconds,
      rpoSeconds: p99(seen.map(({ rpoSeconds }) => rpoSeconds)),
    };
  } finally {
    stop.abort();
    await run;
  }
}

/** Overwriting what was never written would measure how qcow2 grows. */
async function fill(guest: Guest): Promise<void> {
  const random = new Uint8Array(MIB);
  seededPrng(1).fill(random);
  const disk = guest.disk("data");
  for (let at = 0; at < regionBytes; at += MIB) await disk.write(at, random);
  await disk.flush();
}

function startLoad(host: TestHost) {
  const socket = join(host.scratchDirectory, ownSocketFile(testGroup, "db" as MachineName));
  const words = [
    ...["--name=load", "--ioengine=nbd", `--uri=nbd+unix:///guest-data?socket=${socket}`],
    ...["--rw=randwrite", "--bs=4k", `--size=${regionBytes}`, `--rate=${bytesPerSecond}`],
    ...["--iodepth=8", "--norandommap", "--randrepeat=0", "--refill_buffers"],
    // In one process, so that all of it ends when it is killed.
    ...["--thread", "--time_based", "--runtime=600"],
  ];
  return spawn("setpriv", ["--pdeathsig", "KILL", "fio", ...words], { stdio: "ignore" });
}

function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0;
}

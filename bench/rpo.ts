import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { systemClock } from "../src/base/clock.ts";
import { seededPrng } from "../src/base/prng.ts";
import { GIB, KIB, MIB } from "../src/base/units.ts";
import type { MachineName } from "../src/core/ids.ts";
import { ownSocketFile } from "../src/qemu/own-names.ts";
import { testGroup } from "../src/source/qemu/test-guest.ts";
import { type Sites, sites } from "../test/two-sites/sites.ts";
import { type BenchResult, benchResult, type Figure, figure, limitFigure } from "./figures.ts";
import { type BenchOptions, formatResult, progress } from "./harness.ts";
import { RpoRecord } from "./rpo-record.ts";

/*
 * Two processes over TLS, each in its network namespace where the host allows that: a disk of a storage daemon takes 20 MB/s of
 * random 4 KiB over 256 MiB (from fio over NBD: a guest without KVM cannot write so fast), with a target RPO. The RPO of every
 * moment is worked out from what the vault's directory holds: now, minus the lower bound of the newest sealed point's instant, or
 * minus the last confirmation that nothing had changed. It counts from the first byte written; nothing is left out.
 */

const run = promisify(execFile);
const clock = systemClock();
const diskBytes = GIB;
const regionBytes = 256 * MIB;
const bytesPerSecond = 20_000_000;
const loadSeconds = 180;
const idleSeconds = 60;
/** What was under way when the load ended must have arrived before idleness is measured. */
const settleSeconds = 15;
const pointsMax = 50;
/** The kernel's unit of processor time in /proc (USER_HZ; fixed for user space on Linux). */
const ticksPerSecond = 100;

/** Runs the bench `rpo`. */
export async function rpo(_options: BenchOptions): Promise<BenchResult> {
  const figures: Record<string, Figure> = {};
  for (const targetSeconds of [5, 1]) {
    const found = await underTarget(targetSeconds, { isBar: targetSeconds === 5 });
    Object.assign(figures, found);
    // Minutes lie between: a run that is cut short has told what it knows.
    progress(formatResult(benchResult("rpo", `target ${targetSeconds} s`, found)));
  }
  return benchResult("rpo", "the target, or what is named", figures);
}

async function underTarget(
  targetSeconds: number,
  { isBar }: { readonly isBar: boolean },
): Promise<Readonly<Record<string, Figure>>> {
  const title = `target ${targetSeconds} s`;
  await using world = await sites({
    disks: [{ name: "data", sizeBytes: diskBytes }],
    interval: { targetRpoSeconds: targetSeconds },
    // The default of a second could not hold a target of one.
    replicator: { intervalMinSeconds: Math.min(1, targetSeconds / 5) },
    capBytes: { scratch: GIB, spool: 4 * GIB },
    vault: { retention: { pointsMax } },
  });
  await fill(world);
  await world.startVault();
  await world.enrol("bench");
  await world.startReplicator();
  const record = new RpoRecord(world);
  // Of an idle guest no second point is cut.
  await record.waitForPoint();
  progress(`rpo, ${title}: ${loadSeconds} s of load`);
  const cpuBefore = await cpuSeconds(world);
  const fromMs = clock.nowMs();
  const [writtenBytes] = await Promise.all([load(world), record.follow(loadSeconds)]);
  const toMs = clock.nowMs();
  await record.follow(settleSeconds);
  const cpuAfter = await cpuSeconds(world);
  const written = writtenBytes / GIB;
  const points = record.pointsSince(fromMs);
  const storedBytes = points.reduce((sum, { cost }) => sum + cost.storedBytes, 0);
  const p99 = record.quantile(0.99, fromMs, toMs);
  const bound = isBar
    ? limitFigure({ ours: p99, limit: targetSeconds, unit: "s" })
    : reported(p99, targetSeconds, "s");
  return {
    [`${title}, RPO p99`]: bound,
    [`${title}, RPO p50`]: reported(record.quantile(0.5, fromMs, toMs), targetSeconds, "s"),
    [`${title}, seconds a point, beside the target`]: reported(
      (toMs - fromMs) / 1000 / points.length,
      targetSeconds,
      "s",
    ),
    [`${title}, CPU per GiB written, beside the vault's`]: reported(
      (cpuAfter.replicator - cpuBefore.replicator) / written,
      (cpuAfter.vault - cpuBefore.vault) / written,
      "s",
    ),
    [`${title}, journal bytes, beside those written`]: reported(
      storedBytes / GIB / written,
      1,
      "GiB",
    ),
    ...(await idle(world, record, title)),
  };
}

/** Nobody writes: what crosses the wire, both directions with all their headers, and what RPO the vault can show. */
async function idle(
  world: Sites,
  record: RpoRecord,
  title: string,
): Promise<Readonly<Record<string, Figure>>> {
  progress(`rpo, ${title}: ${idleSeconds} s idle`);
  const fromMs = clock.nowMs();
  const before = await world.network.carriedBytes().catch(() => null);
  await record.follow(idleSeconds);
  const after = await world.network.carriedBytes().catch(() => null);
  const p99 = record.quantile(0.99, fromMs, clock.nowMs());
  const shown = { [`${title}, idle, RPO p99, beside a minute`]: reported(p99, 60, "s") };
  if (before === null || after === null) return shown; // On the loopback others' bytes would count.
  const carried = after.sent + after.received - before.sent - before.received;
  const ours = carried / idleSeconds / KIB;
  return { ...shown, [`${title}, idle, wire`]: limitFigure({ ours, limit: 1, unit: "KiB/s" }) };
}

function reported(ours: number, peer: number, unit: string): Figure {
  return figure({ ours, peer, unit, better: "smaller", bar: null });
}

/** Overwriting what was never written would measure how qcow2 grows. */
async function fill(world: Sites): Promise<void> {
  const random = new Uint8Array(MIB);
  seededPrng(1).fill(random);
  const disk = world.guest.disk("data");
  for (let at = 0; at < regionBytes; at += MIB) await disk.write(at, random);
  await disk.flush();
}

const fioSchema = z.object({
  jobs: z.array(z.object({ write: z.object({ io_bytes: z.number() }) })).length(1),
});

/** Resolves to the bytes written. */
async function load({ host }: Sites): Promise<number> {
  const socket = join(host.scratchDirectory, ownSocketFile(testGroup, "db" as MachineName));
  const { stdout } = await run("fio", [
    "--name=load",
    "--ioengine=nbd",
    `--uri=nbd+unix:///guest-data?socket=${socket}`,
    ...["--rw=randwrite", "--bs=4k", `--size=${regionBytes}`, `--rate=${bytesPerSecond}`],
    ...["--iodepth=8", "--norandommap", "--randrepeat=0", "--refill_buffers"],
    ...["--time_based", `--runtime=${loadSeconds}`, "--output-format=json"],
  ]);
  // fio may say something before its JSON.
  const told = fioSchema.parse(JSON.parse(stdout.slice(stdout.indexOf("{"))));
  return told.jobs[0]!.write.io_bytes;
}

async function cpuSeconds(world: Sites): Promise<Record<"replicator" | "vault", number>> {
  const of = async (pid: number | undefined) => {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    // Fields 14 and 15 of proc(5), counted after the name, which may hold blanks.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  };
  return {
    replicator: await of(world.replicator.child.pid),
    vault: await of(world.vault.child.pid),
  };
}

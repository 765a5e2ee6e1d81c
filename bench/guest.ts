import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { MIB } from "../src/base/units.ts";
import { afterimage, startAfterimage } from "../test/afterimage-process.ts";
import { type BenchResult, benchResult, type Figure, figure, limitFigure } from "./figures.ts";
import { type GuestMachine, type GuestWrites, guestMachine } from "./guest-machine.ts";
import { type BenchOptions, pairsMin, progress } from "./harness.ts";

/*
 * What our cycles cost the guest's own writes. The guest overwrites random 4 KiB blocks at 5 MB/s and times each write itself; in
 * turns `afterimage run` cuts a point of that disk every 2 s, or nothing runs. Each turn is taken beside two without cycles: one is
 * the peer, the other the control, which shows how far two equal turns lie apart on this machine.
 */

const bytesPerSecond = 5_000_000;
const turnSeconds = 12;
const intervalSeconds = 2;
const smallRegionBytes = 256 * MIB;
const largeRegionBytes = 2048 * MIB;
/** The longest write may take this, in milliseconds. */
const longestMsMax = 100;

type Turn = "peer" | "cycles" | "control";
type Turns = Record<Turn, readonly GuestWrites[]>;

/** Runs the bench `guest`. */
export async function guest(_options: BenchOptions): Promise<BenchResult> {
  await using world = await guestMachine({ writtenBytes: largeRegionBytes });
  const replication = await prepareReplication(world);
  const figures: Record<string, Figure> = {};
  const small = await takeTurns(world, replication, smallRegionBytes);
  Object.assign(figures, figuresOf("256 MiB", small, { p50: 0.83, p99: 0.33 }));
  figures["256 MiB, longest write"] = limitFigure({
    ours: longestOf(small.cycles),
    limit: longestMsMax,
    unit: "ms",
  });
  const large = await takeTurns(world, replication, largeRegionBytes);
  Object.assign(figures, figuresOf("2 GiB", large, { p50: null, p99: null }));
  return benchResult("guest", "the same guest without cycles", figures);
}

async function takeTurns(
  world: GuestMachine,
  replication: Replication,
  regionBytes: number,
): Promise<Turns> {
  const turns: Record<Turn, GuestWrites[]> = { peer: [], cycles: [], control: [] };
  const load = { regionBytes, bytesPerSecond, seconds: turnSeconds };
  for (let round = 0; round <= pairsMin; round += 1) {
    progress(`guest, ${regionBytes / MIB} MiB: ${round === 0 ? "warm-up" : `round ${round}`}`);
    const order: Turn[] = ["peer", "cycles", "control"];
    if (round % 2 === 1) order.reverse();
    for (const turn of order) {
      await using _cycles = turn === "cycles" ? await replication.start() : null;
      const wrote = await world.write(load);
      progress(`  ${turn}: ${JSON.stringify(wrote)}`);
      if (round > 0) turns[turn].push(wrote);
    }
  }
  return turns;
}

function figuresOf(
  region: string,
  turns: Turns,
  bars: { readonly p50: number | null; readonly p99: number | null },
): Readonly<Record<string, Figure>> {
  const [cycles, peer, control] = [turns.cycles, turns.peer, turns.control];
  const compare = (
    ours: readonly GuestWrites[],
    of: (wrote: GuestWrites) => number,
    bar: number | null,
  ) => figure({ ours: ours.map(of), peer: peer.map(of), unit: "ms", better: "smaller", bar });
  const rateOf = ({ count, seconds }: GuestWrites) => (count * 4096) / seconds / 1e6;
  const p50Of = ({ p50Ms }: GuestWrites) => p50Ms;
  const p99Of = ({ p99Ms }: GuestWrites) => p99Ms;
  return {
    [`${region}, p50`]: compare(cycles, p50Of, bars.p50),
    [`${region}, p50, control`]: compare(control, p50Of, null),
    [`${region}, p99`]: compare(cycles, p99Of, bars.p99),
    [`${region}, p99, control`]: compare(control, p99Of, null),
    [`${region}, longest`]: figure({
      ours: longestOf(cycles),
      peer: longestOf(peer),
      unit: "ms",
      better: "smaller",
      bar: null,
    }),
    [`${region}, longest, control`]: figure({
      ours: longestOf(control),
      peer: longestOf(peer),
      unit: "ms",
      better: "smaller",
      bar: null,
    }),
    [`${region}, rate reached`]: figure({
      ours: cycles.map(rateOf),
      peer: peer.map(rateOf),
      unit: "MB/s",
      better: "larger",
      bar: null,
    }),
  };
}

/** Of all turns, not of the middle one: a single stall is what a guest notices. */
function longestOf(turns: readonly GuestWrites[]): number {
  return Math.max(...turns.map(({ longestMs }) => longestMs));
}

interface Replication {
  /** Starts cutting points; resolves when the second is sealed. Disposing stops it in order. */
  start(): Promise<AsyncDisposable>;
}

async function prepareReplication({ directory, machine }: GuestMachine): Promise<Replication> {
  const vault = join(directory, "vault");
  const scratch = join(directory, "scratch");
  const configPath = join(directory, "afterimage.yaml");
  await mkdir(scratch);
  const disks = [{ name: "load", node: "load" }];
  const config = {
    vault,
    intervalSeconds,
    scratch: { directory: scratch, capBytes: "4GiB" },
    retention: { pointsMax: 10 },
    groups: [{ name: "bench", machines: [{ name: "db", qmp: machine.qmpPath, disks }] }],
  };
  await writeFile(configPath, stringify(config));
  const made = await afterimage("vault", "init", vault);
  if (made.exitCode !== 0) throw new Error(made.stderr);
  return {
    start: async () => {
      const running = startAfterimage("run", configPath, "--log", "json");
      const sealed = /A point was sealed\.[\s\S]*A point was sealed\./;
      await running.seen(sealed);
      return {
        [Symbol.asyncDispose]: async () => {
          running.child.kill("SIGINT");
          await running.ended;
        },
      };
    },
  };
}

import { parseArgs } from "node:util";
import { systemClock } from "../src/base/clock.ts";
import { MIB } from "../src/base/units.ts";
import type { Point } from "../src/core/point.ts";
import { canLie, type LyingClock, lyingClock } from "../test/two-sites/lying-clock.ts";
import type { Site } from "../test/two-sites/namespaces.ts";
import { SmallRooms } from "../test/two-sites/small-rooms.ts";
import { type Harm, Trial } from "../test/two-sites/trial.ts";
import { type SoakFault, soakFaults } from "./soak-faults.ts";

const help = `npm run soak [-- --minutes N] [--seed N]

Two sites as processes of their own, a guest that never stops writing, and one or two random faults at a time, all drawn from the
seed. After each round every new point is compared with a shadow copy of what the guest did. Ends with a summary, or with the
first broken promise and exit code 1.
`;

const clock = systemClock();
const minutesDefault = 10;
const writerPauseMsChoices = [2, 8, 8, 40];
/** A fault lasts up to so long. */
const faultSecondsMax = 8;
const pointsMax = 200;
const scratchBytes = 128 * MIB;
const spoolCapBytes = 512 * MIB;
const vaultRoomBytes = 6144 * MIB;
const spoolRoomBytes = 640 * MIB;

interface Soak {
  readonly trial: Trial;
  readonly clocks: Record<Site, LyingClock> | null;
  readonly faults: readonly SoakFault[];
  readonly seen: Map<string, number>;
  longestGapSeconds: number;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: String(minutesDefault) },
      seed: { type: "string", default: String(Math.floor(clock.nowMs())) },
      help: { type: "boolean", default: false },
    },
  });
  const minutes = Number(values.minutes);
  const seed = Number(values.seed);
  if (values.help || !(minutes > 0) || !Number.isSafeInteger(seed)) {
    process.stderr.write(help);
    return values.help ? 0 : 2;
  }
  const startedAtMs = clock.monotonicMs();
  await using rooms = new SmallRooms();
  const soak = await begin(seed, rooms);
  await using trial = soak.trial;
  // Unmounted before the directory beneath goes.
  await using _rooms = rooms;
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  for (let round = 1; !interrupted.signal.aborted; round += 1) {
    const elapsedMs = clock.monotonicMs() - startedAtMs;
    if (elapsedMs > minutes * 60_000) break;
    const broken = await play(soak, round, elapsedMs / 1000);
    if (broken !== null) {
      process.stdout.write(
        `BROKEN (seed ${seed}, round ${round}): ${broken}\n${trial.lastWords()}\n`,
      );
      return 1;
    }
  }
  return await summarise(soak, (clock.monotonicMs() - startedAtMs) / 1000);
}

async function begin(seed: number, rooms: SmallRooms): Promise<Soak> {
  const hasRooms = process.getuid?.() === 0;
  let clocks: Soak["clocks"] = null;
  const trial = await Trial.begin({
    seed,
    capBytes: { scratch: scratchBytes, spool: spoolCapBytes },
    vault: { retention: { pointsMax } },
    beforeStart: async (sites) => {
      if (!canLie()) return;
      const { directory } = sites;
      clocks = {
        vault: await lyingClock(directory, "vault"),
        replicator: await lyingClock(directory, "replicator"),
      };
      sites.environment = {
        vault: clocks.vault.environment,
        replicator: clocks.replicator.environment,
      };
    },
    ...(hasRooms
      ? {
          mountRooms: async (paths) => {
            await rooms.mount(paths.vault, vaultRoomBytes);
            await rooms.mount(paths.spool, spoolRoomBytes);
          },
        }
      : {}),
  });
  const has = {
    namespaces: trial.sites.network.kind === "namespaces",
    rooms: hasRooms,
    clocks: clocks !== null,
  };
  const faults = soakFaults.filter(({ needs }) => needs === undefined || has[needs]);
  for (const { name, needs } of soakFaults) {
    if (needs !== undefined && !has[needs])
      process.stdout.write(`without "${name}": no ${needs}\n`);
  }
  return { trial, clocks, faults, seen: new Map(), longestGapSeconds: 0 };
}

/** One round: one or two faults for a while, then everything must be as it should. What is not, in words; null when all is. */
async function play(soak: Soak, round: number, elapsedSeconds: number): Promise<string | null> {
  const { trial, faults, seen } = soak;
  const { prng, points, writer } = trial;
  const first = faults[prng.below(faults.length)]!;
  const others = faults.filter(({ kind }) => kind !== first.kind);
  const chosen = prng.below(2) === 0 ? [first] : [first, others[prng.below(others.length)]!];
  const names = chosen.map(({ name }) => name).join(" + ");
  for (const { name } of chosen) seen.set(name, (seen.get(name) ?? 0) + 1);
  writer.pauseMs = writerPauseMsChoices[prng.below(writerPauseMsChoices.length)]!;
  const seconds = prng.below(faultSecondsMax * 1000) / 1000;
  const since = points.newestSequence;
  const hasLyingClock = chosen.some(({ kind }) => kind === "clock");
  if (hasLyingClock) points.hasHonestClocks = false;
  const ends: (() => Promise<void>)[] = [];
  for (const fault of chosen) ends.push(await fault.begin(trial, soak.clocks));
  await clock.sleep(seconds * 1000);
  for (const end of ends.reverse()) await end();
  let harm: Harm = await trial.harm(since);
  if (hasLyingClock) {
    // Points that were taken before it told the truth again came first.
    const later = await trial.harm(since);
    harm = { ...later, wrong: [...harm.wrong, ...later.wrong] };
    points.hasHonestClocks = true;
  } else {
    soak.longestGapSeconds = Math.max(
      soak.longestGapSeconds,
      longestGapSeconds(points.points, since),
    );
  }
  const at = `${Math.floor(elapsedSeconds / 60)}:${String(Math.floor(elapsedSeconds % 60)).padStart(2, "0")}`;
  const shipped = points.newestSequence - since;
  const broken = Object.entries(harm).flatMap(([what, list]: [string, readonly string[]]) =>
    list.map((one) => `${what}: ${one}`),
  );
  const verdict = broken.length === 0 ? "ok" : "BROKEN";
  process.stdout.write(
    `${at.padStart(6)}  ${String(round).padStart(3)}  ${names}, ${seconds.toFixed(1)} s: ${shipped} points  ${verdict}\n`,
  );
  return broken.length === 0 ? null : broken.join("\n");
}

/** Between the instants of neighbours among the points that came since. */
function longestGapSeconds(points: readonly Point[], since: number): number {
  const takenAtMs = points
    .filter(({ sequence }) => sequence > since)
    .map(({ instant }) => instant.lowerMs);
  return Math.max(0, ...takenAtMs.slice(1).map((at, index) => (at - takenAtMs[index]!) / 1000));
}

async function summarise(soak: Soak, seconds: number): Promise<number> {
  const { trial, seen } = soak;
  const { sites, points, writer } = trial;
  await sites.replicator.stop();
  await sites.vault.stop();
  const verified = await sites.command("vault", "verify", sites.vaultDirectory, "erp");
  const faults = [...seen.values()].reduce((sum, count) => sum + count, 0);
  const lines = [
    ...[...seen].map(([name, count]) => `${String(count).padStart(4)} x ${name}`),
    `${Math.round(seconds)} s, ${faults} faults, ${writer.operations.length} operations of the guest`,
    `${points.points.length} points came, each compared with the shadow copy; none wrong, none lost, no disk read again`,
    `longest time between two points of a round: ${soak.longestGapSeconds.toFixed(1)} s (rounds with honest clocks)`,
    verified.trim(),
    "PASS",
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}

process.exitCode = await main();

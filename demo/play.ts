import { isFault } from "../src/base/fault.ts";
import { systemPrng } from "../src/base/prng.ts";
import { formatBytes } from "../src/base/units.ts";
import type { Point } from "../src/core/point.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { openVault } from "../src/journal/vault.ts";
import { qemuPlatform } from "../src/platform/qemu/platform.ts";
import {
  type Acknowledgement,
  newestRowBefore,
  startWriter,
  waitForDatabase,
} from "../test/guest/database-guest.ts";
import { ensureGuest } from "../test/guest/guest-images.ts";
import { copyImages, startProduction } from "../test/guest/production.ts";
import { type Check, checkHistory, checkRecovered, type Recovered } from "./checks.ts";
import { type RecoveredMachine, recover } from "./recover.ts";
import { type CycleFacts, intervalSeconds, run, startReplicator } from "./replicator.ts";
import type { Scene } from "./scene.ts";

/** Points that are sealed before production is killed. */
export const pointsWanted = 12;

/** Everything the demo found out. */
export interface Outcome {
  readonly points: number;
  readonly cycles: readonly CycleFacts[];
  /** How much work the disaster cost: from the newest point's instant to the kill. */
  readonly rpoSeconds: number;
  readonly newest: Boot;
  readonly older: Boot;
  /** Rows that the database had acknowledged before the newest point's instant. */
  readonly rowsAcknowledged: number;
  /** Rows acknowledged between that instant and the kill. */
  readonly rowsAfterNewest: number;
  readonly checks: readonly Check[];
}

export interface Boot extends Recovered {
  readonly rtoSeconds: number;
}

/** What happened at the protected site, up to its end. */
interface Protected {
  readonly cycles: readonly CycleFacts[];
  readonly acknowledgements: readonly Acknowledgement[];
  readonly killedAtMs: number;
}

/** Plays the main job once. Rejects when it cannot be played to its end; what it finds wrong is in the checks. */
export async function play(scene: Scene): Promise<Outcome> {
  const lost = await protect(scene);
  const { points, newest, older } = await recoverBoth(scene);
  const verified = await verify(scene);
  const { acknowledgements, killedAtMs, cycles } = lost;
  const rowsAcknowledged = newestRowBefore(acknowledgements, newest.takenAtMs);
  return {
    points,
    cycles,
    rpoSeconds: (killedAtMs - newest.takenAtMs) / 1000,
    newest,
    older,
    rowsAcknowledged,
    rowsAfterNewest: newestRowBefore(acknowledgements, killedAtMs) - rowsAcknowledged,
    checks: [
      ...checkHistory({ points, newest, older }),
      ...checkRecovered(newest, acknowledgements),
      ...checkRecovered(older, acknowledgements),
      verified,
    ],
  };
}

/** Production runs, is replicated, and is killed. */
async function protect(scene: Scene): Promise<Protected> {
  const { stage, signal, clock } = scene;
  stage.step("building a Debian guest with PostgreSQL");
  const built = await ensureGuest({ signal, onStep: (step) => stage.detail(step) });
  stage.step("booting it as production, data and WAL on two disks");
  const images = await copyImages(built, scene.directory);
  const { directory, machine: name } = scene;
  await using production = await startProduction({ name, images, directory, signal });
  await waitForDatabase(production.console, signal);
  using writer = startWriter(production.console);
  stage.step("initial sync while rows are committed");
  await using replicator = await startReplicator(scene, production);
  await replicator.waitForPoints(1, () => {});
  stage.step(`a point every ${intervalSeconds} s while rows are committed`);
  await replicator.waitForPoints(pointsWanted, ({ point, dirtyBytes, storedBytes }) => {
    const rows = writer.acknowledgements.length;
    const bytes = `${formatBytes(dirtyBytes)} changed, ${formatBytes(storedBytes)} stored`;
    stage.detail(`point #${point.sequence}: ${bytes}; ${rows} rows committed`);
  });
  // A disaster keeps no timetable.
  await clock.sleep(systemPrng().below(intervalSeconds * 1000), { signal });
  const killedAtMs = clock.nowMs();
  await production.kill();
  stage.step("production is killed (SIGKILL of its QEMU)");
  const { acknowledgements } = writer;
  return { cycles: replicator.cycles, acknowledgements, killedAtMs };
}

/** The newest point and one from the middle, both running at once. Nothing of production is asked. */
async function recoverBoth(
  scene: Scene,
): Promise<{ readonly points: number; readonly newest: Boot; readonly older: Boot }> {
  const { stage, clock, files } = scene;
  await using vault = await openVault({
    files,
    clock,
    directory: scene.vault,
    mode: "read",
    locks: sqliteLocks(),
    prng: systemPrng(),
  });
  const reader = await vault.reader(scene.group);
  const points = reader.points();
  const newestPoint = points.at(-1);
  const olderPoint = points[Math.floor(points.length / 2) - 1];
  if (!newestPoint || !olderPoint) throw new Error(`the vault holds ${points.length} points`);
  const platform = qemuPlatform({ clock, accelerator: "tcg", scratchDirectory: scene.directory });
  stage.step(`failover: booting the newest point, #${newestPoint.sequence}`);
  await using newest = await recover(scene, platform, reader, newestPoint);
  stage.detail(`PostgreSQL recovered ${newest.state.rows} rows`);
  stage.step(`beside it: booting an older point, #${olderPoint.sequence}`);
  await using older = await recover(scene, platform, reader, olderPoint);
  stage.detail(`PostgreSQL recovered ${older.state.rows} rows`);
  return {
    points: points.length,
    newest: bootOf("newest", newestPoint, newest),
    older: bootOf("older", olderPoint, older),
  };
}

/** After two machines ran from it, every byte in the vault must still be as it was sealed. */
async function verify({ stage, vault, group }: Scene): Promise<Check> {
  stage.step("verifying every chunk of the vault");
  const name = "the vault reads back as it was sealed, after both boots";
  try {
    const said = await run(["verify", vault, group]);
    return { name, pass: true, detail: said.trim().split("\n").at(-1) ?? "" };
  } catch (error) {
    if (!isFault(error, "TOOL_FAILED")) throw error;
    return { name, pass: false, detail: error.message };
  }
}

function bootOf(label: string, point: Point, { state, rtoSeconds }: RecoveredMachine): Boot {
  const { sequence, instant } = point;
  return { label, sequence, takenAtMs: instant.lowerMs, state, rtoSeconds };
}

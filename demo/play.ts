import { isFault } from "../src/base/fault.ts";
import { systemPrng } from "../src/base/prng.ts";
import { formatBytes } from "../src/base/units.ts";
import type { Point } from "../src/core/point.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { openVault } from "../src/journal/vault.ts";
import { qemuPlatform } from "../src/platform/qemu/platform.ts";
import type { Machine } from "../src/qemu/machine.ts";
import {
  type Acknowledgement,
  newestRowBefore,
  startWriter,
  waitForDatabase,
} from "../test/guest/database-guest.ts";
import { ensureGuest } from "../test/guest/guest-images.ts";
import { copyImages, startProduction } from "../test/guest/production.ts";
import {
  type Check,
  checkHistory,
  checkOutage,
  checkRecovered,
  type Outage,
  type Recovered,
} from "./checks.ts";
import type { LinkRelay } from "./link-relay.ts";
import { type RecoveredMachine, recover } from "./recover.ts";
import {
  type CycleFacts,
  intervalSeconds,
  type Replicator,
  run,
  startReplicator,
} from "./replicator.ts";
import type { Scene } from "./scene.ts";
import { startTwoSites } from "./two-sites.ts";

/** Points that are sealed before production is killed. */
export const pointsWanted = 12;
const pointsBeforeOutage = 3;
const outageSeconds = 10;

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
  /** While the link between two sites was cut; null where one process does it all. */
  readonly outage: Outage | null;
}

/** Plays the main job once. Rejects when it cannot be played to its end; what it finds wrong is in the checks. */
export async function play(scene: Scene): Promise<Outcome> {
  const lost = await protect(scene);
  const { points, newest, older } = await recoverBoth(scene);
  const verified = await verify(scene);
  const { acknowledgements, killedAtMs, cycles, outage } = lost;
  const rowsAcknowledged = newestRowBefore(acknowledgements, newest.takenAtMs);
  return {
    points: points.length,
    cycles,
    rpoSeconds: (killedAtMs - newest.takenAtMs) / 1000,
    newest,
    older,
    rowsAcknowledged,
    rowsAfterNewest: newestRowBefore(acknowledgements, killedAtMs) - rowsAcknowledged,
    checks: [
      ...checkHistory({ points: points.length, newest, older }),
      ...(outage === null ? [] : [checkOutage(points, outage, intervalSeconds)]),
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
  await using replication = await startReplication(scene, production);
  const { replicator, link } = replication;
  await replicator.waitForPoints(1, () => {});
  stage.step(`a point every ${intervalSeconds} s while rows are committed`);
  const tell = ({ point, dirtyBytes, storedBytes }: CycleFacts) => {
    const rows = writer.acknowledgements.length;
    const bytes = `${formatBytes(dirtyBytes)} changed, ${formatBytes(storedBytes)} stored`;
    stage.detail(`point #${point.sequence}: ${bytes}; ${rows} rows committed`);
  };
  const outage = link === null ? null : await cutFor(scene, link, replicator, tell);
  await replicator.waitForPoints(pointsWanted, tell);
  // A disaster keeps no timetable.
  await clock.sleep(systemPrng().below(intervalSeconds * 1000), { signal });
  const killedAtMs = clock.nowMs();
  await production.kill();
  stage.step("production is killed (SIGKILL of its QEMU)");
  const { acknowledgements } = writer;
  return { cycles: replicator.cycles, acknowledgements, killedAtMs, outage };
}

/** One process, or two with a link between them that can be cut. */
async function startReplication(
  scene: Scene,
  production: Machine,
): Promise<AsyncDisposable & { readonly replicator: Replicator; readonly link: LinkRelay | null }> {
  if (scene.hasTwoSites) return startTwoSites(scene, production);
  const replicator = await startReplicator(scene, production);
  return { replicator, link: null, [Symbol.asyncDispose]: () => replicator[Symbol.asyncDispose]() };
}

/** The link is away for a while; points go on being cut. */
async function cutFor(
  { stage, clock, signal }: Scene,
  link: LinkRelay,
  replicator: Replicator,
  tell: (cycle: CycleFacts) => void,
): Promise<Outage> {
  await replicator.waitForPoints(pointsBeforeOutage, tell);
  stage.step(`the link between the sites is cut for ${outageSeconds} s; points go into the spool`);
  const fromMs = clock.nowMs();
  link.cut();
  await clock.sleep(outageSeconds * 1000, { signal });
  await link.restore();
  stage.step("the link is back: what waited is shipped in order");
  return { fromMs, toMs: clock.nowMs() };
}

/** The newest point and one from the middle, both running at once. Nothing of production is asked. */
async function recoverBoth(
  scene: Scene,
): Promise<{ readonly points: readonly Point[]; readonly newest: Boot; readonly older: Boot }> {
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
    points,
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

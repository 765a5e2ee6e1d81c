import type { Clock } from "../../src/base/clock.ts";
import type { FileSystem } from "../../src/base/file-system.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { Dial } from "../../src/core/channel.ts";
import type { GroupName } from "../../src/core/ids.ts";
import type { JournalIntake, PointWriter } from "../../src/core/journal.ts";
import type { Point } from "../../src/core/point.ts";
import type { Source } from "../../src/core/source.ts";
import type { EngineEvent } from "../../src/engine/events.ts";
import { runGroup } from "../../src/engine/run.ts";
import { openSpool } from "../../src/engine/spool/spool.ts";
import type { SpoolEvent } from "../../src/engine/spool/spool-events.ts";
import { spooledIntake } from "../../src/engine/spool/spooled-intake.ts";
import type { SpooledIntake } from "../../src/engine/spool/spooled-intake-options.ts";
import { openLink } from "../../src/transport/open-link.ts";
import { intakeWith, spooledIntakeWith, writerWith } from "./altered.ts";
import type { SitesOracle } from "./oracle.ts";
import type { SitesSeams } from "./seams.ts";
import type { SiteProcess } from "./site.ts";
import { type SitesSwarm, spoolDirectory } from "./swarm.ts";

/** What a replicator's process finds around it. */
export interface ReplicatorSurroundings {
  readonly files: FileSystem;
  readonly source: Source;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly group: GroupName;
  readonly swarm: SitesSwarm;
  readonly oracle: SitesOracle;
  readonly seams: SitesSeams;
  readonly betweenCycles: () => void;
  /** Told how many points wait in the spool. */
  readonly onWaiting: (points: number) => void;
  readonly tell: (event: string) => void;
}

/** The replicator's process: one group, a link and a spool, until it is told to end or another holds the group. */
export async function runReplicator(
  room: ReplicatorSurroundings,
  process: SiteProcess,
): Promise<void> {
  const { files, clock, prng, group, swarm, oracle, seams, tell } = room;
  const spool = await openSpool({
    files,
    directory: spoolDirectory,
    capBytes: swarm.spool.capBytes,
    reserveBytes: 0,
    clock,
  });
  await using link = openLink({
    dial: room.dial,
    clock,
    prng,
    channelCount: swarm.channelCount,
    usesThreads: false,
    codecOf: () => swarm.codec,
    onEvent: (event) => tell(`link: ${event.kind}${"fault" in event ? ` ${event.fault}` : ""}`),
  });
  const holder = process.peer.id;
  await using intake = await spooledIntake({
    spool,
    group: { name: group, holder },
    link: told(seams.link(link.intake(group)), oracle),
    health: () => link.health(),
    codecOf: () => swarm.codec,
    clock,
    onEvent: (event) => tellSpool(event, room),
  });
  const shipping = new AbortController();
  const shipped = intake.run({ signal: shipping.signal });
  shipped.catch((error: unknown) => oracle.breaks(`shipping ended with ${String(error)}`));
  try {
    await runGroup({
      source: room.source,
      journal: seams.intake(noting(intake, oracle, tell)),
      group: { name: group, holder },
      intervalSeconds: swarm.intervalSeconds,
      syncBytesPerSecondMax: swarm.syncBytesPerSecondMax,
      clockComparison: () => link.health().clock,
      onStale: "pause",
      clock,
      prng,
      signal: process.signal,
      onEvent: (event) => tellEngine(event, room),
    });
  } finally {
    shipping.abort();
    await shipped;
  }
}

function tellSpool(event: SpoolEvent, { oracle, tell, onWaiting }: ReplicatorSurroundings): void {
  if (event.type === "hole") {
    oracle.noteHole(event.fromSequence, event.toSequence, event.reason);
  }
  if (event.type === "spool") {
    onWaiting(event.status.points);
    return;
  }
  const facts = "reason" in event ? event.reason : "fault" in event ? `${event.fault}` : "";
  tell(`spool: ${event.type} ${"sequence" in event ? `#${event.sequence}` : facts}`);
}

function tellEngine(event: EngineEvent, { oracle, tell, betweenCycles }: ReplicatorSurroundings) {
  if (event.type === "cycle" || event.type === "current") betweenCycles();
  if (event.type === "state") tell(`engine: ${event.state}`);
  if ("fault" in event) tell(`engine: ${event.type} ${event.fault.code} ${event.fault.message}`);
  if (event.type !== "attached") return;
  tell(`engine: ${event.disks.map((disk) => `${disk.name} ${disk.state}`).join(", ")}`);
  for (const disk of event.disks) {
    if (disk.state === "resync") oracle.points.noteResync(disk.name, disk.cause);
  }
}

/** The way to the vault, with the oracle told what it says is sealed. */
function told(intake: JournalIntake, oracle: SitesOracle): JournalIntake {
  return intakeWith(intake, {
    begin: async (header) =>
      sealing(await intake.begin(header), (point) => oracle.noteTold(point, header.id)),
  });
}

/** What the engine cuts into, with the oracle told what it takes for sealed, or for current. */
function noting(
  intake: SpooledIntake,
  oracle: SitesOracle,
  tell: (event: string) => void,
): SpooledIntake {
  return spooledIntakeWith(intake, {
    confirmCurrent: async (confirmation) => {
      oracle.noteConfirmed(confirmation);
      await intake.confirmCurrent(confirmation);
    },
    begin: async (header) => {
      const writer = await intake.begin(header);
      const noted = sealing(writer, (point, adopts) => {
        oracle.noteCut(point, { adopts });
        tell(`cut #${point.sequence} ${point.id} ${writer.route ?? ""}`);
      });
      return writer.route === undefined ? noted : { ...noted, route: writer.route };
    },
  });
}

function sealing(
  writer: PointWriter,
  onSealed: (point: Point, adopts: boolean) => void,
): PointWriter {
  let adopts = false;
  return writerWith(writer, {
    adopt: async (staged) => {
      adopts = true;
      await writer.adopt(staged);
    },
    seal: async (facts) => {
      const point = await writer.seal(facts);
      onSealed(point, adopts);
      return point;
    },
  });
}

import type { Clock } from "../../src/base/clock.ts";
import { isFault } from "../../src/base/fault.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { Dial } from "../../src/core/channel.ts";
import { type DiskName, drawPointId, type GroupName } from "../../src/core/ids.ts";
import type { JournalIntake } from "../../src/core/journal.ts";
import { blockSizeBytes } from "../../src/core/limits.ts";
import type { Point, PointHeader } from "../../src/core/point.ts";
import { openLink } from "../../src/transport/open-link.ts";
import type { SitesOracle } from "./oracle.ts";
import type { SiteProcess } from "./site.ts";

const patienceMs = 20_000;

/** One attempt of another replicator, over a link of its own. */
export async function runRival(
  options: Omit<RivalOptions, "intake" | "nowMs"> & { dial: Dial; clock: Clock },
  process: SiteProcess,
): Promise<void> {
  const { dial, clock, prng, group } = options;
  await using link = openLink({ dial, clock, prng, channelCount: 1, usesThreads: false });
  const patience = new AbortController();
  void clock.sleep(patienceMs).then(
    () => patience.abort(),
    () => {},
  );
  try {
    await link.whenUp({ signal: AbortSignal.any([process.signal, patience.signal]) });
    await tryAsRival({ ...options, intake: link.intake(group), nowMs: clock.nowMs() });
  } catch (error) {
    if (!isFault(error) && !patience.signal.aborted && !process.signal.aborted) throw error;
  }
}

/** What another replicator takes. */
interface RivalOptions {
  readonly intake: JournalIntake;
  readonly group: GroupName;
  /** Its own id, and that of the group's rightful holder, as which it also tries. */
  readonly holder: string;
  readonly otherHolder: string;
  readonly prng: Prng;
  readonly nowMs: number;
  readonly oracle: SitesOracle;
  readonly tell: (event: string) => void;
}

/**
 * Another replicator that believes the group is its own: it writes a point on top of the head, under its own name or another's.
 * Whether it may is the vault's to decide and the oracle's to judge.
 */
async function tryAsRival(options: RivalOptions): Promise<void> {
  const { intake, holder, otherHolder, oracle, tell } = options;
  const { head, generation } = await intake.ask();
  if (head === null || !oracle.imagesAt(head.id)?.has(head.disks[0]?.name as DiskName)) return;
  const number = generation?.number ?? 1;
  for (const by of [otherHolder, holder]) {
    for (const claimed of [number - 1, number, number + 1]) {
      if (claimed < 1) continue;
      try {
        const point = await writePoint(options, head, { number: claimed, holder: by });
        tell(`rival: sealed #${point.sequence} ${point.id} as ${claimed} by ${by}`);
        return;
      } catch (error) {
        if (!isFault(error)) throw error;
        tell(`rival: ${error.code}`);
      }
    }
  }
}

async function writePoint(
  { intake, group, holder, prng, nowMs, oracle }: RivalOptions,
  head: Point,
  generation: PointHeader["generation"],
): Promise<Point> {
  const id = drawPointId(prng);
  const images = new Map([...(oracle.imagesAt(head.id) ?? [])]);
  const [disk] = head.disks;
  const image = disk && images.get(disk.name)?.capture();
  if (!disk || !image) throw new TypeError("a head without disks or of an instant unknown");
  const data = Buffer.alloc(Math.min(blockSizeBytes, disk.sizeBytes), `rival ${id} `);
  image.write(0, data);
  images.set(disk.name, image);
  oracle.noteInstant(id, images, holder);
  await using writer = await intake.begin({
    id,
    group,
    generation,
    sequence: head.sequence + 1,
    fromSequence: head.sequence,
    fromPoint: head.id,
    instant: { lowerMs: nowMs, upperMs: nowMs, clockErrorMs: null },
    consistency: head.consistency,
    disks: head.disks.map((one) => ({ ...one, previousSizeBytes: one.sizeBytes })),
    machines: head.machines,
    notes: ["Written by another."],
  });
  await writer.write(disk.identity, 0, data);
  return await writer.seal({ dirtyBytes: data.length, readBytes: data.length });
}

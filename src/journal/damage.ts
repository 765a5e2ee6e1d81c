import { type Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { DiskIdentity, PointId } from "../core/ids.ts";
import type { PointDisk } from "../core/point.ts";
import type { DeltaReader } from "../delta/reader.ts";
import { openSealed } from "./delta-files.ts";
import type { GroupState } from "./group-state.ts";
import { RunSet } from "./run-set.ts";
import type { ChainDelta } from "./view.ts";

/** Bytes of the vault that do not read back. */
export interface Damage {
  readonly path: string;
  readonly fault: Fault;
  /** Point that the file reaches up to: where the base stands, or the delta's to-point. Earlier points do not read it. */
  readonly sequence: number;
  /** Disks that the file speaks of: a point that has none of them does not need it. */
  readonly identities: readonly DiskIdentity[];
  /** The run that cannot be read; null when the file cannot be used at all. */
  readonly run: {
    readonly identity: DiskIdentity;
    readonly offsetBytes: number;
    readonly endBytes: number;
  } | null;
}

/** A damage and the points that show it. */
export interface JudgedDamage extends Damage {
  readonly pointsLost: readonly PointId[];
}

interface OpenDamage {
  readonly damage: Damage;
  readonly covered: RunSet;
  /** The first point that does not show it any more. */
  healedAt: number;
}

/**
 * Which points each damage loses. The rule: a point is lost when some byte of it would be read from the damaged run, that is from the file's
 * own point on until later deltas have replaced all of the run; a delta that cannot be used at all loses every point from its own on.
 * Deltas are opened once each, in order, and only as long as there is a damage to follow.
 */
export async function judgeDamages(
  files: FileSystem,
  state: Pick<GroupState, "points">,
  chain: readonly ChainDelta[],
  damages: readonly Damage[],
): Promise<JudgedDamage[]> {
  const all = damages.map((damage): OpenDamage => {
    return { damage, covered: new RunSet(), healedAt: Number.POSITIVE_INFINITY };
  });
  for (const file of chain) {
    const { sequence } = file.delta;
    const open = all.filter(({ damage, healedAt }) => {
      return damage.run !== null && damage.sequence < sequence && healedAt > sequence;
    });
    if (open.length === 0) continue;
    await followThrough(files, file, open);
  }
  return all.map(({ damage, healedAt }) => ({
    ...damage,
    pointsLost: state
      .points()
      .filter(({ facts }) => facts.sequence >= damage.sequence && facts.sequence < healedAt)
      .filter(({ facts }) => facts.disks.some((disk) => needs(damage, disk)))
      .map(({ facts }) => facts.id),
  }));
}

function needs({ run, identities }: Damage, disk: PointDisk): boolean {
  if (run === null) return identities.includes(disk.identity);
  return disk.identity === run.identity && disk.sizeBytes > run.offsetBytes;
}

/** Takes from each damage what the delta replaces of it. */
async function followThrough(files: FileSystem, file: ChainDelta, open: readonly OpenDamage[]) {
  await using reader = await openOrNull(files, file);
  if (reader === null) return; // A damage of its own.
  const { index } = reader;
  for (const one of open) {
    const { identity, offsetBytes, endBytes } = one.damage.run!;
    const disk = file.delta.disks.findIndex((at) => at.identity === identity);
    if (disk < 0) continue;
    for (let entry = index.seek(disk, offsetBytes); entry < index.entryCount; entry += 1) {
      if (index.disk(entry) !== disk || index.offsetBytes(entry) >= endBytes) break;
      const start = index.offsetBytes(entry);
      for (const gap of [...one.covered.gaps(start, index.endBytes(entry))]) {
        one.covered.add(gap.offsetBytes, gap.endBytes - gap.offsetBytes);
      }
    }
    const left = one.covered.gaps(offsetBytes, endBytes).next();
    if (left.done === true) one.healedAt = file.delta.sequence;
  }
}

async function openOrNull(files: FileSystem, file: ChainDelta): Promise<DeltaReader | null> {
  try {
    return await openSealed(files, file);
  } catch (error) {
    if (isFault(error, "DELTA_CORRUPT", "DELTA_MISSING", "DELTA_VERSION")) return null;
    throw error;
  }
}

import type { Extent } from "../core/extent.ts";
import type { DiskName, PointId } from "../core/ids.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { Snapshot, Source } from "../core/source.ts";

/** A source under test and the guest behind it, which the test plays. */
export interface SourceHarness extends AsyncDisposable {
  readonly source: Source;
  /** Two disks of one running machine, of at least 16 blocks each, all zero. */
  readonly disks: readonly [DiskName, DiskName];
  write(disk: DiskName, offsetBytes: number, data: Uint8Array): Promise<void>;
  /** The guest gives the run back; it reads as zeroes then. */
  trim(disk: DiskName, offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Names of all bitmaps on a disk. */
  bitmaps(disk: DiskName): Promise<readonly string[]>;
  /** Somebody removes every bitmap of the disk. */
  removeBitmaps(disk: DiskName): Promise<void>;
  /** Somebody else adds a bitmap of that name. */
  addBitmap(disk: DiskName, name: string): Promise<void>;
  /** The machine ends in order and starts again; null when the harness has no such thing. */
  readonly restart: (() => Promise<void>) | null;
  /** The machine's process is killed and started again; null when the harness has no such thing. */
  readonly crash: (() => Promise<void>) | null;
  /** Whether the machine stands paused; absent when the harness has no such thing. */
  readonly isPaused?: (() => Promise<boolean>) | null;
  /** Our process dies without a word; resolves to the source of its next life. */
  reborn(): Promise<Source>;
  /** Exports, jobs, nodes and scratch of ours that are there now, any spelling. */
  leftovers(): Promise<readonly string[]>;
}

/** Never aborts. */
export const { signal } = new AbortController();
/** A point's id by its number. */
export const point = (number: number) => number.toString(16).padStart(16, "0") as PointId;
/** A block full of one byte. */
export const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);

/** The harness of the test under way. */
export type Get = () => SourceHarness;

/** Starts recording under point 1 on both disks. */
export async function tracked(harness: SourceHarness): Promise<ReadonlyMap<DiskName, PointId>> {
  await harness.source.repair({ keep: [], signal });
  await harness.source.track(harness.disks, point(1), { signal });
  return sinceOf(harness, 1);
}

/** Both disks counted from one point. */
export function sinceOf(harness: SourceHarness, number: number): ReadonlyMap<DiskName, PointId> {
  return new Map(harness.disks.map((disk) => [disk, point(number)]));
}

async function extentsOf(snapshot: Snapshot, disk: DiskName): Promise<readonly Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of snapshot.extents(disk)) extents.push(extent);
  return extents;
}

/** Extents as "block+blocks state". */
export async function dirtyBlocks(snapshot: Snapshot, disk: DiskName): Promise<readonly string[]> {
  return (await extentsOf(snapshot, disk)).map(
    ({ offsetBytes, lengthBytes, state }) =>
      `${offsetBytes / blockSizeBytes}+${lengthBytes / blockSizeBytes} ${state}`,
  );
}

/** A block of a point. */
export async function readBlock(
  snapshot: Snapshot,
  disk: DiskName,
  index: number,
): Promise<Uint8Array> {
  const into = block(255);
  await snapshot.read(disk, index * blockSizeBytes, into);
  return into;
}

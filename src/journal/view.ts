import assert from "node:assert/strict";
import { join } from "node:path";
import type { FileSystem } from "../base/file-system.ts";
import { mapOrdered } from "../base/map-ordered.ts";
import type { Extent } from "../core/extent.ts";
import type { DiskIdentity } from "../core/ids.ts";
import type { View } from "../core/journal.ts";
import type { Point, PointDisk } from "../core/point.ts";
import type { DeltaIndex } from "../format/delta-index.ts";
import { BaseDisk } from "./base-disk.ts";
import { BlockCache } from "./block-cache.ts";
import { type DeltaFile, DeltaFiles, openSealed } from "./delta-files.ts";
import type { GroupState, LedgerDelta } from "./group-state.ts";
import { indicesInOrder, logicalIndexOf } from "./index-cache.ts";
import { type RunIndex, RunIndexBuilder } from "./run-index.ts";
import { firstAfter } from "./sorted-keys.ts";
import { UnitCache } from "./unit-cache.ts";
import { blockStorePaths, type GroupLayout } from "./vault-layout.ts";
import { type EntryPlace, ViewDisk } from "./view-disk.ts";

/** Delta files opened at once when the index cache lacks them. */
const openingMax = 16;

/** A delta of a chain together with where its file lies. */
export interface ChainDelta extends DeltaFile {
  readonly delta: LedgerDelta;
}

export interface OpenViewOptions {
  readonly files: FileSystem;
  readonly layout: GroupLayout;
  readonly point: Point;
  readonly disks: readonly PointDisk[];
  /** From the base, or from any point when the base is left out, up to the point. */
  readonly chain: readonly LedgerDelta[];
  /** Whether what no delta holds is read from the base; otherwise the view has holes that only `index` shows. */
  readonly isOverBase: boolean;
  /** Released when the view is closed. */
  readonly pin: AsyncDisposable | null;
}

/** A view of a directory vault. Besides reading it shows which entries of which deltas it is made of. */
export class DirectoryView implements View {
  readonly point: Point;
  readonly disks: readonly PointDisk[];
  readonly deltas: DeltaFiles;
  readonly #byIdentity: ReadonlyMap<DiskIdentity, ViewDisk>;
  readonly #resources: AsyncDisposableStack;

  constructor(
    options: OpenViewOptions,
    parts: {
      deltas: DeltaFiles;
      byIdentity: ReadonlyMap<DiskIdentity, ViewDisk>;
      resources: AsyncDisposableStack;
    },
  ) {
    this.point = options.point;
    this.disks = options.disks;
    this.deltas = parts.deltas;
    this.#byIdentity = parts.byIdentity;
    this.#resources = parts.resources;
  }

  disk(identity: DiskIdentity): ViewDisk {
    const disk = this.#byIdentity.get(identity);
    assert(disk !== undefined, "the view has no such disk");
    return disk;
  }

  async read(disk: DiskIdentity, offsetBytes: number, into: Uint8Array): Promise<void> {
    await this.disk(disk).read(offsetBytes, into);
  }

  async extents(disk: DiskIdentity, offsetBytes: number, lengthBytes: number) {
    return (await this.disk(disk).extents(offsetBytes, lengthBytes)) as readonly Extent[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }
}

/** Opens a view. DELTA_MISSING, DELTA_CORRUPT, STORAGE_*. Takes the pin over, also when it rejects. */
export async function openView(options: OpenViewOptions): Promise<DirectoryView> {
  await using opened = new AsyncDisposableStack();
  if (options.pin !== null) opened.use(options.pin);
  // Deltas that know none of the disks are not needed, and damage in them does no harm.
  const identities = new Set(options.disks.map((disk) => disk.identity));
  const needed = options.chain.filter((delta) =>
    delta.disks.some((at) => identities.has(at.identity)),
  );
  const chain = locate(options.layout, needed);
  const { indices, starts } = await buildIndices(options, chain);
  const deltas = opened.use(new DeltaFiles(options.files));
  const [cache, blocks] = [new UnitCache(), new BlockCache()];
  const placeOf = (entry: number): EntryPlace => {
    const ordinal = firstAfter(starts, entry) - 1;
    return { file: chain[ordinal]!, entry: entry - starts[ordinal]! };
  };
  const byIdentity = new Map<DiskIdentity, ViewDisk>();
  for (const disk of options.disks) {
    const base = options.isOverBase ? await openBase(options, disk.identity) : null;
    if (base !== null) opened.use(base);
    const index = indices.get(disk.identity)!;
    byIdentity.set(
      disk.identity,
      new ViewDisk({ disk, index, base, deltas, cache, blocks, placeOf }),
    );
  }
  return new DirectoryView(options, { deltas, byIdentity, resources: opened.move() });
}

/** The chain of a point with the paths of its files. */
export function chainOf(layout: GroupLayout, state: GroupState, sequence: number) {
  return locate(layout, state.chainTo(sequence));
}

function locate(layout: GroupLayout, chain: readonly LedgerDelta[]): ChainDelta[] {
  return chain.map((delta) => ({
    delta,
    path: join(layout.deltas, delta.file),
    contentRoot: delta.contentRoot,
  }));
}

async function openBase(options: OpenViewOptions, identity: DiskIdentity): Promise<BaseDisk> {
  const paths = blockStorePaths(options.layout.base, identity);
  return BaseDisk.open(options.files, paths, identity, "read");
}

/** One index for each disk, over all deltas of the chain; `starts` has the number of each delta's first entry. */
async function buildIndices(options: OpenViewOptions, chain: readonly ChainDelta[]) {
  const builders = new Map(options.disks.map((disk) => [disk.identity, new RunIndexBuilder()]));
  const starts = new Float64Array(chain.length);
  let ordinal = 0;
  let nextEntry = 0;
  for await (const { delta, index } of chainIndices(options, chain)) {
    starts[ordinal] = nextEntry;
    ordinal += 1;
    const ofDisks = delta.delta.disks.map((disk) => builders.get(disk.identity));
    for (let entry = 0; entry < index.entryCount; entry += 1) {
      const builder = ofDisks[index.disk(entry)];
      // A disk that the point does not have any more.
      if (builder === undefined) continue;
      const [offsetBytes, lengthBytes] = [index.offsetBytes(entry), index.lengthBytes(entry)];
      builder.add(nextEntry + entry, offsetBytes, lengthBytes, index.isZero(entry));
    }
    nextEntry += index.entryCount;
    assert(nextEntry < 2 ** 32, "a view has fewer than 2^32 extents");
  }
  const indices = new Map<DiskIdentity, RunIndex>();
  for (const [identity, builder] of builders) indices.set(identity, builder.build());
  return { indices, starts };
}

/** The checked indices of the chain, old to new: from the cache where it has them, else from the delta files, several at once. */
async function* chainIndices(options: OpenViewOptions, chain: readonly ChainDelta[]) {
  const { files, layout } = options;
  let uncached: ChainDelta[] = [];
  for await (const { delta, cached } of indicesInOrder(files, layout.indexCache, chain)) {
    if (cached === null) {
      uncached.push(delta);
      continue;
    }
    yield* openedIndices(files, uncached);
    uncached = [];
    yield { delta, index: logicalIndexOf(cached.logicalTable) };
  }
  yield* openedIndices(files, uncached);
}

async function* openedIndices(
  files: FileSystem,
  chain: readonly ChainDelta[],
): AsyncGenerator<{ delta: ChainDelta; index: DeltaIndex }, void, undefined> {
  yield* mapOrdered(chain, openingMax, async (delta) => {
    await using reader = await openSealed(files, delta);
    return { delta, index: reader.index };
  });
}

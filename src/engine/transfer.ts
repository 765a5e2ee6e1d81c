import assert from "node:assert/strict";
import { mapOrdered } from "../base/map-ordered.ts";
import { GIB } from "../base/units.ts";
import type { Extent } from "../core/extent.ts";
import type { DiskIdentity, DiskName } from "../core/ids.ts";
import type { PointWriter } from "../core/journal.ts";
import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { Snapshot } from "../core/source.ts";
import { appendRun, endOf, requestRuns, zeroAndDataRuns } from "./block-runs.ts";
import { BufferPool } from "./buffer-pool.ts";
import type { Pace } from "./read-pace.ts";

/** Requests to the source under way at once; each holds a window, so this bounds the memory. */
export const readsInFlightMax = 16;
/** Disks whose changed extents are asked for ahead of the reading. */
const disksAheadMax = 16;
const zeroRunBytesMax = GIB;

/** One disk of the point that is being cut. */
export interface TransferDisk {
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  readonly sizeBytes: number;
  /** Size when its changes began to count; what lies behind it is read whole. */
  readonly countedSizeBytes: number;
  /** Size that the head holds of it (0 when it is new); what was cut off is sealed as zeroes. */
  readonly headSizeBytes: number;
}

/** What a transfer moved, in bytes. */
export interface TransferCounts {
  /** In changed extents of whole blocks. */
  readonly dirtyBytes: number;
  /** Asked from the source. */
  readonly readBytes: number;
  /** Written as data. */
  readonly dataBytes: number;
  /** Written as runs of zeroes. */
  readonly zeroBytes: number;
}

interface Request extends Extent {
  readonly disk: TransferDisk;
}

/**
 * Moves what changed from the snapshot into the delta: exactly the changed extents, at most `readsInFlightMax` windows at
 * once. Blocks that read as zeroes become runs of zeroes, and so does the tail that a shrunk disk lost.
 */
export async function transfer(options: {
  snapshot: Snapshot;
  writer: { readonly ready: Promise<PointWriter> };
  disks: readonly TransferDisk[];
  signal: AbortSignal;
  onFirst: (what: "read" | "write") => Promise<void>;
  pace?: Pace;
}): Promise<TransferCounts> {
  const { snapshot, writer, signal } = options;
  const counts = { dirtyBytes: 0, readBytes: 0, dataBytes: 0, zeroBytes: 0 };
  const buffers = new BufferPool(windowSizeBytes);
  const first = {
    read: onceOnly(options.onFirst, "read"),
    write: onceOnly(options.onFirst, "write"),
  };

  const move = async (request: Request): Promise<readonly Extent[]> => {
    signal.throwIfAborted();
    counts.dirtyBytes += request.lengthBytes;
    if (request.state === "zero") return [request];
    const buffer = buffers.take();
    try {
      const data = buffer.subarray(0, request.lengthBytes);
      await first.read();
      await options.pace?.admit(data.length, signal);
      await snapshot.read(request.disk.name, request.offsetBytes, data);
      counts.readBytes += data.length;
      signal.throwIfAborted();
      const runs = zeroAndDataRuns(request.offsetBytes, data);
      await first.write();
      for (const run of runs) {
        if (run.state === "zero") continue;
        const start = run.offsetBytes - request.offsetBytes;
        const part = data.subarray(start, start + run.lengthBytes);
        await (await writer.ready).write(request.disk.identity, run.offsetBytes, part);
        counts.dataBytes += run.lengthBytes;
      }
      return runs.filter((run) => run.state === "zero");
    } finally {
      buffers.give(buffer);
    }
  };

  const zeroes = new ZeroRuns(writer, first.write);
  const requests = requestsOf(snapshot, options.disks);
  const moved = mapOrdered(requests, readsInFlightMax, async (request) => ({
    disk: request.disk,
    runs: await move(request),
  }));
  for await (const { disk, runs } of moved) {
    for (const run of runs) await zeroes.add(disk.identity, run);
  }
  for (const disk of options.disks) {
    const lostBytes = disk.headSizeBytes - disk.sizeBytes;
    // A disk that grows again must not show what once was behind its end.
    if (lostBytes > 0) {
      const tail = { offsetBytes: disk.sizeBytes, lengthBytes: lostBytes, state: "zero" } as const;
      await zeroes.add(disk.identity, tail);
    }
  }
  await zeroes.flush();
  return { ...counts, zeroBytes: zeroes.writtenBytes };
}

/** Joins runs of zeroes across requests before they are written. */
class ZeroRuns {
  readonly #writer: { readonly ready: Promise<PointWriter> };
  readonly #beforeWrite: () => Promise<void>;
  #disk: DiskIdentity | null = null;
  #pending: Extent[] = [];
  writtenBytes = 0;

  constructor(writer: { readonly ready: Promise<PointWriter> }, beforeWrite: () => Promise<void>) {
    this.#writer = writer;
    this.#beforeWrite = beforeWrite;
  }

  async add(disk: DiskIdentity, run: Extent): Promise<void> {
    if (this.#disk !== disk) await this.flush();
    this.#disk = disk;
    appendRun(this.#pending, run);
    if (this.#pending.length > 1) await this.#write(this.#pending.shift()!);
  }

  async flush(): Promise<void> {
    for (const run of this.#pending.splice(0)) await this.#write(run);
  }

  async #write(run: Extent): Promise<void> {
    assert(this.#disk !== null, "a run belongs to a disk");
    await this.#beforeWrite();
    const writer = await this.#writer.ready;
    await writer.zero(this.#disk, run.offsetBytes, run.lengthBytes);
    this.writtenBytes += run.lengthBytes;
  }
}

/** What to read, disk by disk; the first extents of several disks are asked for at once, for each costs a round trip. */
async function* requestsOf(
  snapshot: Snapshot,
  disks: readonly TransferDisk[],
): AsyncGenerator<Request, void, undefined> {
  const opened = new Set<AsyncIterator<Extent>>();
  const open = async (disk: TransferDisk) => {
    const changed = checked(snapshot.extents(disk.name), disk);
    const iterator = requestRuns(changed, { windowBytes: windowSizeBytes, zeroRunBytesMax });
    opened.add(iterator);
    return { disk, iterator, first: await iterator.next() };
  };
  try {
    for await (const { disk, iterator, first } of mapOrdered(disks, disksAheadMax, open)) {
      for (let next = first; !next.done; next = await iterator.next()) {
        yield { disk, ...next.value };
      }
      opened.delete(iterator);
    }
  } finally {
    for (const iterator of opened) await iterator.return?.();
  }
}

/** Holds the source to its promises: whole blocks, in order, inside the disk; and a grown disk's new tail, all of it. */
async function* checked(
  extents: AsyncIterable<Extent>,
  disk: TransferDisk,
): AsyncGenerator<Extent, void, undefined> {
  let doneBytes = 0;
  for await (const extent of extents) {
    const endBytes = endOf(extent);
    assert(extent.offsetBytes >= doneBytes && extent.lengthBytes > 0, "extents are in order");
    assert(extent.offsetBytes % blockSizeBytes === 0, "extents begin with a block");
    assert(endBytes % blockSizeBytes === 0 || endBytes === disk.sizeBytes, "and end with one");
    assert(endBytes <= disk.sizeBytes, "extents lie inside the disk");
    yield* uncoveredTail(disk, doneBytes, extent.offsetBytes);
    yield extent;
    doneBytes = endBytes;
  }
  yield* uncoveredTail(disk, doneBytes, disk.sizeBytes);
}

/** The part of a gap in the changed extents that lies behind the disk's former end: it must be read, nobody knows what is there. */
function* uncoveredTail(
  disk: TransferDisk,
  fromBytes: number,
  toBytes: number,
): Generator<Extent, void, undefined> {
  if (disk.sizeBytes <= disk.countedSizeBytes) return;
  const formerEndBytes = Math.floor(disk.countedSizeBytes / blockSizeBytes) * blockSizeBytes;
  const offsetBytes = Math.max(fromBytes, formerEndBytes);
  if (offsetBytes < toBytes)
    yield { offsetBytes, lengthBytes: toBytes - offsetBytes, state: "data" };
}

function onceOnly<What>(act: (what: What) => Promise<void>, what: What): () => Promise<void> {
  let done: Promise<void> | null = null;
  return () => {
    done ??= act(what);
    return done;
  };
}

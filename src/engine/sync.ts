import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { mapOrdered } from "../base/map-ordered.ts";
import { GIB, MIB } from "../base/units.ts";
import type { Extent } from "../core/extent.ts";
import type { JournalIntake, StagedDisk } from "../core/journal.ts";
import { windowSizeBytes } from "../core/limits.ts";
import type { LiveDisk, Source } from "../core/source.ts";
import { endOf, inWholeBlocks, requestRuns } from "./block-runs.ts";
import { BufferPool } from "./buffer-pool.ts";
import { stageRequest } from "./cycle.ts";
import type { PhaseHook } from "./phase.ts";
import { type Pace, ReadPace } from "./read-pace.ts";
import type { GroupStanding, SyncingDisk } from "./standing.ts";
import { differingRuns } from "./sync-compare.ts";
import { etaSeconds, type SyncProgress } from "./sync-progress.ts";

export { syncPhases } from "./phase.ts";

/** Windows of a live disk that are read, compared and staged at once. */
const windowsInFlightMax = 16;
/** Runs of zeroes are compared in pieces of this size: 256 KiB of hashes. */
const zeroRunBytesMax = 512 * MIB;
/** The live disk is asked what is allocated for so much at a time, so that the answer is fresh and short. */
const extentsAheadBytes = 16 * GIB;
/** A sync that is killed repeats at most about this much reading and writing... */
const checkpointEveryBytes = 256 * MIB;
/** ...or this much time. */
const checkpointEveryMs = 5_000;
const progressEveryMs = 250;

/** What a sync takes. */
export interface SyncOptions {
  readonly source: Source;
  readonly journal: JournalIntake;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Cap on reading the live disk; null reads as fast as it goes. */
  readonly readBytesPerSecondMax?: number | null;
  /** Holds reads to what else they have to keep to, besides; not given: nothing. */
  readonly pace?: Pace;
  readonly onProgress?: (progress: SyncProgress) => void;
  readonly onPhase?: PhaseHook;
  /** For tests. */
  readonly checkpointEveryBytes?: number;
}

/**
 * Reads every disk that is not tracked whole, live, while a bitmap records, and stages what differs from what the vault
 * holds. The group cuts no points meanwhile; afterwards `replicateOnce` adds what changed and seals.
 */
export async function syncGroup(
  standing: GroupStanding,
  options: SyncOptions,
): Promise<GroupStanding> {
  const disks = [...standing.disks];
  for (const [index, disk] of disks.entries()) {
    if (disk.state === "tracked") continue;
    if (disk.isRecording && disk.resumeAtBytes === disk.sizeBytes) continue;
    disks[index] = await syncDisk(disk, options);
  }
  return { ...standing, disks };
}

/** Initial sync (over nothing) and resync (over the head's content) of one disk: the same comparison, hash by hash. */
export async function syncDisk(disk: SyncingDisk, options: SyncOptions): Promise<SyncingDisk> {
  const { source, journal, signal } = options;
  signal.throwIfAborted();
  await options.onPhase?.("sync-stage");
  await using staged = await journal.stage(stageRequest(disk));
  if (!disk.isRecording) {
    // Before the bitmap is there: once it is, a restart believes the checkpoint, and an older reading's must not be it.
    await staged.checkpoint(0);
    await options.onPhase?.("sync-track");
    await source.track([disk.name], disk.syncId, { signal });
  }
  const resumeAtBytes = disk.isRecording ? disk.resumeAtBytes : 0;
  await using live = await source.openLive(disk.name, { signal });
  if (live.sizeBytes !== disk.sizeBytes) {
    // Its parts would have other blocks than the point; attaching again begins them anew.
    const message = `${disk.name} must be attached again: its size changed before it was read whole.`;
    throw new Fault("BITMAP_LOST", message, { disk: disk.name });
  }
  await readWhole({ ...options, disk, staged, live, resumeAtBytes });
  await options.onPhase?.("sync-checkpoint");
  await staged.checkpoint(disk.sizeBytes);
  await options.onPhase?.("sync-end");
  return { ...disk, isRecording: true, resumeAtBytes: disk.sizeBytes };
}

interface Reading extends SyncOptions {
  readonly disk: SyncingDisk;
  readonly staged: StagedDisk;
  readonly live: LiveDisk;
  readonly resumeAtBytes: number;
}

async function readWhole(reading: Reading): Promise<void> {
  const { disk, staged, clock, signal, resumeAtBytes } = reading;
  const everyBytes = reading.checkpointEveryBytes ?? checkpointEveryBytes;
  const startedAtMs = clock.monotonicMs();
  const counts = { readBytes: 0, stagedBytes: 0 };
  const tell = (doneBytes: number) => {
    const { name, kind, sizeBytes } = disk;
    const startedAtBytes = resumeAtBytes;
    const eta = etaSeconds({ clock, startedAtMs, startedAtBytes, doneBytes, sizeBytes });
    reading.onProgress?.({ disk: name, kind, sizeBytes, doneBytes, ...counts, etaSeconds: eta });
  };
  let durableAtMs = startedAtMs;
  let undurableBytes = 0;
  let toldAtMs = startedAtMs;
  tell(resumeAtBytes);
  const moved = mapOrdered(runsOf(reading), windowsInFlightMax, windowMover(reading, counts));
  for await (const { endBytes: doneBytes, workBytes } of moved) {
    undurableBytes += workBytes;
    const nowMs = clock.monotonicMs();
    if (undurableBytes >= everyBytes || nowMs - durableAtMs >= checkpointEveryMs) {
      await reading.onPhase?.("sync-checkpoint");
      await staged.checkpoint(doneBytes);
      durableAtMs = clock.monotonicMs();
      undurableBytes = 0;
    }
    if (nowMs - toldAtMs >= progressEveryMs) {
      tell(doneBytes);
      toldAtMs = nowMs;
    }
    signal.throwIfAborted();
  }
  tell(disk.sizeBytes);
}

/** A run that was compared, and how much was read and staged for it. */
interface Moved {
  readonly endBytes: number;
  readonly workBytes: number;
}

/** Reads, compares and stages one run. */
function windowMover(reading: Reading, counts: { readBytes: number; stagedBytes: number }) {
  const { staged, live, clock, signal } = reading;
  const buffers = new BufferPool(windowSizeBytes);
  const pace = new ReadPace(clock, reading.readBytesPerSecondMax ?? null);

  /** Compares and stages; returns what was staged, in bytes. */
  const stage = async (run: Extent, data: Uint8Array | null): Promise<number> => {
    let stagedBytes = 0;
    for (const extent of await differingRuns(staged, run, data)) {
      await reading.onPhase?.("sync-write");
      stagedBytes += extent.lengthBytes;
      if (extent.state === "zero" || data === null) {
        await staged.zero(extent.offsetBytes, extent.lengthBytes);
      } else {
        const start = extent.offsetBytes - run.offsetBytes;
        await staged.write(extent.offsetBytes, data.subarray(start, start + extent.lengthBytes));
      }
    }
    counts.stagedBytes += stagedBytes;
    return stagedBytes;
  };

  return async (run: Extent): Promise<Moved> => {
    signal.throwIfAborted();
    const endBytes = endOf(run);
    if (run.state === "zero") return { endBytes, workBytes: await stage(run, null) };
    const buffer = buffers.take();
    try {
      const data = buffer.subarray(0, run.lengthBytes);
      await pace.admit(run.lengthBytes, signal);
      await reading.pace?.admit(run.lengthBytes, signal);
      await reading.onPhase?.("sync-read");
      await live.read(run.offsetBytes, data);
      counts.readBytes += run.lengthBytes;
      return { endBytes, workBytes: run.lengthBytes + (await stage(run, data)) };
    } finally {
      buffers.give(buffer);
    }
  };
}

/** The rest of the disk in whole blocks, unallocated included: what is not there now may have been there at the head. */
async function* runsOf(reading: Reading): AsyncGenerator<Extent, void, undefined> {
  const { live, resumeAtBytes, disk } = reading;
  for (let at = resumeAtBytes; at < disk.sizeBytes; ) {
    const lengthBytes = Math.min(extentsAheadBytes, disk.sizeBytes - at);
    const extents = inWholeBlocks(live.extents(at, lengthBytes), disk.sizeBytes);
    yield* requestRuns(extents, { windowBytes: windowSizeBytes, zeroRunBytesMax });
    at += lengthBytes;
  }
}

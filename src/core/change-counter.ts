import type { DiskName } from "./ids.ts";

/** What has changed on a disk since each counter began, in unique bytes of whole blocks. */
export interface DiskChange {
  readonly disk: DiskName;
  readonly sizeBytes: number;
  readonly uniqueBytes: ReadonlyMap<string, number>;
}

/**
 * Counts what changes on a group's disks, with several counters that begin anew one by one; reads nothing and ships nothing. Runs
 * beside a replicator of the same group without touching what is its own, and it not what is ours. One at a time for a group.
 */
export interface ChangeCounter extends AsyncDisposable {
  /**
   * Removes what an earlier life left, starts the counters (1 to 16 of a-z and digits) on all disks of machines that run, and
   * resolves to one sentence for each thing removed. Disposing removes the counters.
   */
  start(
    counters: readonly string[],
    options: { signal: AbortSignal },
  ): Promise<{ readonly removed: readonly string[] }>;
  /**
   * All counts now, in one look. A disk whose counters were lost (its machine is off, or ended and started again) is left out; they
   * are started anew as soon as they can be, and count from there.
   */
  read(options: { signal: AbortSignal }): Promise<readonly DiskChange[]>;
  /** One counter begins anew, on all disks of a machine at once. */
  restart(counter: string, options: { signal: AbortSignal }): Promise<void>;
}

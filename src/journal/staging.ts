import { dirname, join } from "node:path";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { DiskIdentity, PointId } from "../core/ids.ts";
import type { StagedStatus, StageRequest } from "../core/journal.ts";
import { BlockStore, type BlockStorePaths } from "./block-store.ts";
import type { GroupState } from "./group-state.ts";
import { StagedBlocks, type StagedOver } from "./staged-blocks.ts";
import {
  listStagedRecords,
  removeStagedRecord,
  type StagedRecord,
  writeStagedRecord,
} from "./staged-status.ts";
import { blockStorePaths, type GroupLayout } from "./vault-layout.ts";

/**
 * The syncs of a group. A staged base is written at its final place and is in use only when a sealed delta names it; parts lie
 * apart. The record of a sync is made before its files and removed after them, so files without either record or point are
 * nobody's.
 */
export class Staging {
  readonly #files: FileSystem;
  readonly #layout: GroupLayout;

  constructor(files: FileSystem, layout: GroupLayout) {
    this.#files = files;
    this.#layout = layout;
  }

  async list(): Promise<readonly StagedStatus[]> {
    return statusesOf(await listStagedRecords(this.#files, this.#layout.staged));
  }

  /** Those that can be gone on with while `head` is the newest point. */
  async listOver(head: PointId | null): Promise<readonly StagedStatus[]> {
    const records = await listStagedRecords(this.#files, this.#layout.staged);
    return statusesOf(records.filter((record) => fits(record, head)));
  }

  /** Makes or finds the staged files; `over` is what parts are compared with, and the staged disk's from now on. */
  async open(
    request: StageRequest,
    over: StagedOver | null,
    head: PointId | null,
  ): Promise<StagedBlocks> {
    await using opening = new AsyncDisposableStack();
    if (over !== null) opening.use(over);
    const record = await this.#recordFor(request, head);
    const recordPath = this.#recordPath(request.identity);
    const store = opening.use(await this.#openStore(record));
    const staged = new StagedBlocks({
      files: this.#files,
      recordPath,
      record,
      store,
      over,
      removeFiles: () => this.remove(record),
    });
    await staged.begin(request);
    opening.move();
    return staged;
  }

  /** Removes a sync's files and then its record. */
  async remove(status: Pick<StagedStatus, "kind" | "identity">): Promise<void> {
    const paths = this.#pathsOf(status);
    const directory = status.kind === "base" ? this.#layout.base : this.#layout.staged;
    await this.#files.remove(paths.raw);
    await this.#files.remove(paths.hashes);
    await this.#files.syncDirectory(directory);
    await removeStagedRecord(this.#files, this.#recordPath(status.identity));
  }

  /** What a sealed point has taken over: parts go, a base stays where it is and is staged no more. */
  async release(status: Pick<StagedStatus, "kind" | "identity">): Promise<void> {
    if (status.kind === "parts") return this.remove(status);
    await removeStagedRecord(this.#files, this.#recordPath(status.identity));
  }

  /**
   * Releases what the ledger's points have taken over, if that failed when they were sealed. Until then its record stands, and
   * whoever believed it would remove the base of a point.
   */
  async releaseUsed(state: Pick<GroupState, "find">): Promise<readonly string[]> {
    const notes: string[] = [];
    const records = await listStagedRecords(this.#files, this.#layout.staged);
    for (const record of records) {
      const isUsed = record.adoptedBy !== null && state.find(record.adoptedBy) !== null;
      if (!isUsed) continue;
      await this.release(record);
      notes.push(`The staged ${record.kind} of ${record.disk} was already part of a sealed point.`);
    }
    return notes;
  }

  /** After a crash: releases what was taken over, and removes what belongs to no sync. */
  async recover(state: GroupState): Promise<readonly string[]> {
    const notes = [...(await this.releaseUsed(state))];
    for (const record of await listStagedRecords(this.#files, this.#layout.staged)) {
      if (fits(record, state.head?.facts.id ?? null)) continue;
      await this.remove(record);
      notes.push(`What was staged of ${record.disk} was compared with an older point and removed.`);
    }
    const left = await listStagedRecords(this.#files, this.#layout.staged);
    const kept = new Set(left.map((record) => `${record.identity}.`));
    for (const name of await this.#files.list(this.#layout.staged)) {
      if (kept.has(name.slice(0, name.indexOf(".") + 1))) continue;
      await this.#files.remove(join(this.#layout.staged, name));
      notes.push(`${name} in ${this.#layout.staged} belonged to no sync and was removed.`);
    }
    return notes;
  }

  /** Identities whose base is being staged. */
  async stagedBases(): Promise<ReadonlySet<DiskIdentity>> {
    const records = await listStagedRecords(this.#files, this.#layout.staged);
    return new Set(records.filter(({ kind }) => kind === "base").map(({ identity }) => identity));
  }

  /** The record of this very sync target, made when there is none; others of the same disk are discarded. */
  async #recordFor(request: StageRequest, head: PointId | null): Promise<StagedRecord> {
    for (const record of await listStagedRecords(this.#files, this.#layout.staged)) {
      if (record.disk !== request.disk) continue;
      const isSame = record.kind === request.kind && record.identity === request.identity;
      if (isSame && fits(record, head)) return record;
      await this.remove(record);
    }
    const record: StagedRecord = {
      ...request,
      resumeAtBytes: 0,
      writtenBelowBytes: 0,
      adoptedBy: null,
      overPoint: request.kind === "parts" ? head : null,
    };
    await writeStagedRecord(this.#files, this.#recordPath(request.identity), record);
    return record;
  }

  async #openStore(record: StagedRecord): Promise<BlockStore> {
    const paths = this.#pathsOf(record);
    try {
      return await BlockStore.open(this.#files, paths, "write");
    } catch (error) {
      if (!isFault(error, "STORAGE_MISSING")) throw error;
    }
    // A crash may have left one of the two, or the record of parts that were being removed.
    await this.#files.remove(paths.raw);
    await this.#files.remove(paths.hashes);
    if (record.resumeAtBytes > 0) {
      await removeStagedRecord(this.#files, this.#recordPath(record.identity));
      const message = `what was staged of ${record.disk} is gone; its sync starts over`;
      throw new Fault("ABORTED", message, { disk: record.disk });
    }
    const store = await BlockStore.open(this.#files, paths, "create");
    try {
      // Before the first checkpoint: a record must never outlive the files whose content it vouches for.
      await this.#files.syncDirectory(dirname(paths.raw));
      return store;
    } catch (error) {
      await store[Symbol.asyncDispose]();
      throw error;
    }
  }

  #pathsOf({ kind, identity }: Pick<StagedStatus, "kind" | "identity">): BlockStorePaths {
    return blockStorePaths(kind === "base" ? this.#layout.base : this.#layout.staged, identity);
  }

  #recordPath(identity: DiskIdentity): string {
    return join(this.#layout.staged, `${identity}.json`);
  }
}

/** Whether parts go on from the head; a point that came between changed what they are over. */
function fits({ kind, overPoint }: StagedRecord, head: PointId | null): boolean {
  return kind === "base" || overPoint === undefined || overPoint === head;
}

function statusesOf(records: readonly StagedRecord[]): readonly StagedStatus[] {
  return records.map(({ kind, disk, identity, sizeBytes, syncId, resumeAtBytes }) => ({
    ...{ kind, disk, identity, sizeBytes, syncId, resumeAtBytes },
  }));
}

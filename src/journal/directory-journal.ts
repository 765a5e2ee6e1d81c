import assert from "node:assert/strict";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { DiskName, PointId } from "../core/ids.ts";
import type {
  IntakeStanding,
  Journal,
  PointWriter,
  Sealing,
  StagedDisk,
  StagedStatus,
  StageRequest,
} from "../core/journal.ts";
import type { Generation, Point, PointCost, PointHeader } from "../core/point.ts";
import { type CodecChoice, createDelta, type FinishedDelta } from "../delta/writer.ts";
import type { Codec } from "../format/codec.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { Confirmations } from "./confirmations.ts";
import type { DeltaFile } from "./delta-files.ts";
import { Group, type GroupOptions } from "./group.ts";
import { recoverGroup } from "./group-recovery.ts";
import { named } from "./group-state.ts";
import { IndexCache } from "./index-cache.ts";
import { type CheckpointSpans, checkpointSpans, LedgerCheckpoint } from "./ledger-checkpoint.ts";
import type { LedgerFile } from "./ledger-file.ts";
import { type MoveBaseOptions, type MoveBaseResult, moveBase } from "./move-base.ts";
import { DeltaPointWriter, refused } from "./point-writer.ts";
import { type ScrubOptions, scrub } from "./scrub.ts";
import { checkGeneration, checkMaySeal } from "./seal-rules.ts";
import type { StagedBlocks, StagedOver } from "./staged-blocks.ts";
import { Staging } from "./staging.ts";
import { type ThinOptions, type ThinResult, thin } from "./thin.ts";
import { deltaFileName } from "./vault-layout.ts";
import { type VerifyOptions, type VerifyReport, verifyGroup } from "./verify-group.ts";
import { chainOf, type DirectoryView } from "./view.ts";

export interface OpenJournalOptions extends GroupOptions {
  readonly clock: Clock;
  /** How new deltas are stored. */
  readonly codec: Codec;
  /**
   * Instead of `codec`, how chunks of a disk are stored that are not compressed yet, asked anew for each; those that come compressed
   * stay so. May answer differently while a delta is being written.
   */
  readonly codecOf?: CodecOf;
  /** How often what the ledger adds up to is written, for tests. */
  readonly checkpointSpans?: CheckpointSpans;
}

/** How chunks of a disk are stored. */
export type CodecOf = (disk: DiskName) => Codec;

/** Opens a group for writing; the caller holds the vault's writer lock. Recovers what the last writer left. */
export async function openDirectoryJournal(options: OpenJournalOptions): Promise<DirectoryJournal> {
  const group = new Group(options);
  const staging = new Staging(options.files, options.layout);
  const { file: ledger, mark, records } = await recoverGroup(group, staging, options.clock);
  const spans = options.checkpointSpans ?? checkpointSpans;
  const checkpoint = new LedgerCheckpoint(group, mark, records, spans);
  return new DirectoryJournal({ group, staging, ledger, checkpoint, options });
}

/**
 * One group's history in a directory. A seal is: delta complete and durable in `incoming` ─▶ renamed into `deltas`, directory
 * durable ─▶ ledger record durable ─▶ acknowledged. Before the rename nothing has happened; after it the next start finishes.
 */
export class DirectoryJournal implements Journal {
  readonly group: Group;
  readonly ledger: LedgerFile;
  readonly staging: Staging;
  readonly indexCache: IndexCache;
  readonly options: OpenJournalOptions;
  readonly #confirmations: Confirmations;
  readonly checkpoint: LedgerCheckpoint;
  #isWriting = false;
  /** Ends when the seals and raised generations asked for so far have ended. */
  #lastCommit: Promise<unknown> = Promise.resolve();
  #lastChange: Promise<unknown> = Promise.resolve();
  /** Delta files that were renamed into place and whose record then failed: they must go before anything else is sealed. */
  readonly #unentered = new Set<string>();

  constructor(parts: {
    group: Group;
    staging: Staging;
    ledger: LedgerFile;
    checkpoint: LedgerCheckpoint;
    options: OpenJournalOptions;
  }) {
    this.group = parts.group;
    this.staging = parts.staging;
    this.ledger = parts.ledger;
    this.options = parts.options;
    this.checkpoint = parts.checkpoint;
    this.#confirmations = new Confirmations(parts.group, parts.options.clock);
    this.indexCache = new IndexCache(parts.group.files, parts.group.layout.indexCache);
    this.refreshIndexCache();
  }

  /** What was found wrong at start and put right, one sentence each. */
  get notes(): readonly string[] {
    return this.group.notes;
  }

  head(): Point | null {
    return this.group.head();
  }

  points(): readonly Point[] {
    return this.group.points();
  }

  /** Who may write; null before the first point of a group that nobody was given. */
  get generation(): Generation | null {
    return this.group.state.generation;
  }

  async ask(): Promise<IntakeStanding> {
    await this.staging.releaseUsed(this.group.state);
    const head = this.head();
    const staged = await this.staging.listOver(head?.id ?? null);
    return { head, staged, generation: this.generation, owed: null };
  }

  /** Here nothing waits: a sealed point is the vault's head. */
  owedSince(): null {
    return null;
  }

  async confirmCurrent({ point, atMs }: { readonly point: PointId; readonly atMs: number }) {
    if (!this.#confirmations.take(point, atMs) || !this.#confirmations.isDue) return;
    await this.#oneCommitAtATime(() => this.#recordConfirmation());
  }

  /** Hands the group to another writer: whoever wrote before is refused from now on, a delta under way included. STORAGE_*. */
  raiseGeneration({ holder, reason }: { readonly holder: string; readonly reason: string }) {
    return this.#oneCommitAtATime(async () => {
      const generation = { number: (this.generation?.number ?? 0) + 1, holder };
      await this.#removeUnentered();
      await this.enter({ kind: "generation-raised", body: { generation, reason } });
      return generation;
    });
  }

  /** How the chunks of a delta with that header are stored. */
  codecFor({ disks }: Pick<PointHeader, "disks">): CodecChoice {
    const { codec, codecOf } = this.options;
    if (codecOf === undefined) return codec;
    return (place) => codecOf(disks[place]!.name);
  }

  async begin(header: PointHeader): Promise<PointWriter> {
    assert(!this.#isWriting, "one delta at a time");
    checkMaySeal(this.group.state, header);
    this.#isWriting = true;
    try {
      await this.#removeUnentered();
      const { files, layout } = this.group;
      const file = deltaFileName(header);
      const path = join(layout.incoming, file);
      await files.remove(path);
      const signal = new AbortController().signal;
      const codec = this.codecFor(header);
      const delta = await createDelta({ files, path, header, codec, signal });
      return new DeltaPointWriter({
        header,
        delta,
        commit: (finished, sealing, adopted) =>
          this.#oneCommitAtATime(() => this.#commit(header, { finished, sealing, adopted })),
        release: () => {
          this.#isWriting = false;
        },
      });
    } catch (error) {
      this.#isWriting = false;
      throw error;
    }
  }

  async stage(request: StageRequest): Promise<StagedDisk> {
    await this.staging.releaseUsed(this.group.state);
    this.#checkIsNoBaseInUse(request);
    const head = this.head();
    return this.staging.open(request, await this.#stagedOver(request, head), head?.id ?? null);
  }

  async staged(): Promise<readonly StagedStatus[]> {
    await this.staging.releaseUsed(this.group.state);
    return this.staging.listOver(this.head()?.id ?? null);
  }

  /** In the writer's own process the state in memory is the ledger. */
  open(point: PointId): Promise<DirectoryView> {
    return this.group.open(point, async () => {});
  }

  /** Enters that every byte a point reads was checked. */
  async recordVerified(point: Point): Promise<void> {
    await this.enter({ kind: "point-verified", body: { point: named(point) } });
  }

  /** Enters that a point's machines were started, and what came of it. */
  async recordDrilled(point: Point, result: { hasPassed: boolean; finding: string }) {
    await this.enter({ kind: "point-drilled", body: { point: named(point), ...result } });
  }

  /** Retires points and merges their deltas. One change of the history at a time; seals may run beside. */
  thin(options: ThinOptions): Promise<ThinResult> {
    return this.#oneAtATime(() => thin(this, options));
  }

  /** Moves the base up. One change of the history at a time; seals may run beside. */
  moveBase(options: MoveBaseOptions): Promise<MoveBaseResult> {
    return this.#oneAtATime(() => moveBase(this, options));
  }

  /** Hashes what open points read and says which are lost and which are good. Seals and changes may run beside. */
  verify(options: VerifyOptions): Promise<VerifyReport> {
    return verifyGroup(this.group, async () => {}, options);
  }

  /** The same at a bounded rate, going on where it stopped; enters the good points as verified. */
  scrub(options: ScrubOptions): Promise<VerifyReport> {
    return scrub(this, this.options.clock, options);
  }

  /** Appends to the ledger and follows it in memory. */
  async enter(...entries: readonly LedgerEntry[]): Promise<number> {
    const { atMs, mark } = await this.ledger.append(...entries);
    for (const entry of entries) this.group.state.apply(entry, atMs);
    this.checkpoint.advance(mark, entries.length);
    return atMs;
  }

  /** Brings the index cache up to date, behind everything else; `sealed`: the file that came, when nothing else has changed. */
  refreshIndexCache(sealed: DeltaFile | null = null): void {
    const { state, layout } = this.group;
    const chain = () => (state.head === null ? [] : chainOf(layout, state, state.headSequence));
    void this.indexCache.refresh(chain, sealed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lastChange;
    await this.#oneCommitAtATime(() => this.#recordConfirmation()).catch((error: unknown) => {
      if (!isFault(error)) throw error; // Advisory: whoever confirmed will confirm again.
    });
    await this.indexCache.settled();
    await this.checkpoint.close();
    await this.ledger[Symbol.asyncDispose]();
  }

  /** Runs what changes the history one after the other. */
  #oneAtATime<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastChange.then(work);
    this.#lastChange = turn.catch(() => {}); // Its caller's; the next change starts afresh.
    return turn;
  }

  #oneCommitAtATime<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastCommit.then(work);
    this.#lastCommit = turn.catch(() => {}); // Its caller's; the next one starts afresh.
    return turn;
  }

  async #recordConfirmation(): Promise<void> {
    const owed = this.#confirmations.owed();
    if (owed.length === 0) return;
    await this.enter(...owed);
    this.#confirmations.recorded();
  }

  /** A staged base lies where it will be used: staging it again would put it at the mercy of a discard. */
  #checkIsNoBaseInUse({ kind, identity, disk }: StageRequest): void {
    if (kind !== "base" || !this.group.state.identities().has(identity)) return;
    const message = `${disk} has its base already; its identity ${identity} is not staged anew`;
    throw new Fault("SEAL_REFUSED", message, { disk, identity });
  }

  async #stagedOver(request: StageRequest, head: Point | null): Promise<StagedOver | null> {
    if (request.kind === "base" || head === null) return null;
    const view = await this.open(head.id);
    try {
      const disk = view.disk(request.identity);
      return {
        blockHashes: (offsetBytes, into) => disk.blockHashes(offsetBytes, into),
        [Symbol.asyncDispose]: () => view[Symbol.asyncDispose](),
      };
    } catch (error) {
      await view[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #commit(
    header: PointHeader,
    sealed: {
      finished: FinishedDelta;
      sealing: Sealing;
      adopted: readonly StagedBlocks[];
    },
  ): Promise<Point> {
    const { finished, adopted, sealing } = sealed;
    const { state, files, layout } = this.group;
    checkGeneration(state, header);
    const before = state.sealedAs(header.sequence);
    if (before !== null) return this.#answerAgain(header, finished);
    checkMaySeal(state, header);
    const machinesHash = await this.group.machines.keep(header.machines);
    const file = deltaFileName(header);
    const path = join(layout.deltas, file);
    const { machines: _, ...point } = header;
    const { contentRoot, dataBytes, zeroBytes, sizeBytes: storedBytes } = finished;
    const { dirtyBytes, readBytes } = sealing;
    const cost: PointCost = { dirtyBytes, readBytes, dataBytes, zeroBytes, storedBytes };
    const clock = sealing.clock == null ? {} : { clock: sealing.clock };
    const body = { point, machinesHash, contentRoot, file, cost, ...clock };
    this.#unentered.add(path);
    try {
      await files.rename(join(layout.incoming, file), path);
      await files.syncDirectory(layout.deltas);
      const sealedEntry = { kind: "point-sealed", body: body as never } as const;
      await this.enter(...this.#confirmations.owed(), ...baseEntries(adopted), sealedEntry);
    } catch (error) {
      // The sender is told that there is no such point; what cannot be removed now is removed before the next one.
      await this.#removeUnentered().catch((removing: unknown) => {
        if (!isFault(removing)) throw removing;
      });
      throw error;
    }
    this.#unentered.delete(path);
    await this.#releaseStaged(adopted);
    this.refreshIndexCache({ path, contentRoot });
    return this.group.pointOf(this.group.pointNamed(header.id));
  }

  /** Same root again: the same answer. Another root under a sequence that is taken: refused. */
  #answerAgain(header: PointHeader, finished: FinishedDelta): Point {
    const { state } = this.group;
    const before = state.sealedAs(header.sequence)!;
    if (before.contentRoot !== finished.contentRoot) {
      const message = `sealed before with other content (root ${before.contentRoot})`;
      throw refused(header, message);
    }
    return this.group.pointOf(this.group.pointNamed(before.id));
  }

  /** A staged part that cannot be released now is released at the next start: the ledger says that it was taken over. */
  async #releaseStaged(adopted: readonly StagedBlocks[]): Promise<void> {
    for (const staged of adopted) {
      try {
        await this.staging.release(staged.status);
      } catch (error) {
        if (!isFault(error)) throw error;
        this.group.notes.push(`What was staged of ${staged.status.disk} could not be removed yet.`);
      }
    }
  }

  /** The ledger first: a record that may be durable must be cut off before its file goes. */
  async #removeUnentered(): Promise<void> {
    if (this.#unentered.size === 0 && !this.ledger.isUncertain) return;
    await this.ledger.settle();
    const { files, layout } = this.group;
    for (const path of this.#unentered) await files.remove(path);
    await files.syncDirectory(layout.deltas);
    this.#unentered.clear();
  }
}

function baseEntries(adopted: readonly StagedBlocks[]): LedgerEntry[] {
  return adopted
    .filter((staged) => staged.status.kind === "base")
    .map(({ status: { disk, identity, sizeBytes } }) => ({
      kind: "base-adopted",
      body: { disk, identity, sizeBytes, hashesHash: null },
    }));
}

import { dirname, join } from "node:path";
import { Fault, isFault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { PointId } from "../../core/ids.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import { type DeltaReader, openDelta } from "../../delta/reader.ts";
import { type CodecChoice, createDelta, type DeltaWriter } from "../../delta/writer.ts";
import type { SpoolRoom } from "./spool-room.ts";
import { emptySpoolState, type SpooledPoint, type SpoolState } from "./spool-state.ts";
import { asSpoolCorrupt, spooledAsPoint } from "./spooled-point.ts";
import { withDropped } from "./state-changes.ts";
import { readSpoolState, writeSpoolState } from "./state-file.ts";

// One group's folder:
//
//   state             what is known; replaced whole, with a checksum
//   12-<id>.delta     a point that waits; one that the state does not list is nobody's and goes at the next start
//   13-<id>.part      a point being cut
//
//   cut:          .part written ─▶ fdatasync ─▶ renamed ─▶ directory synced ─▶ [state lists it] ─▶ the source may forget
//   acknowledged: vault has it ─▶ [state without it] ─▶ file removed
//   dropped:      [state without it] ─▶ file removed
//   direct:       [state: unanswered] ─▶ vault seals ─▶ [state: the vault's head]
//
// A crash before [..] leaves what was before it, a crash behind leaves what is after it; files are removed last, so that every
// file that the state lists was there when it was written.

/** Points are given up by disposing of their writer. */
const neverAborted = new AbortController().signal;

/** A list up to this long is written at each acknowledgement... */
const promptPointsMax = 256;
/** ...and a longer one after so many: what it costs to write grows with it. */
const acknowledgementsPerWrite = 64;

/** Points that were cut and cannot be shipped any more. */
export interface LostPoints {
  readonly points: readonly SpooledPoint[];
  /** One sentence. */
  readonly reason: string;
}

/** A change of the state. */
export interface StateChange {
  readonly state: SpoolState;
  readonly lost?: LostPoints | null;
}

interface ApplyOptions {
  readonly newest: Point | null;
  readonly mustBeDurable: boolean;
  readonly mayWait?: boolean;
}

/** The state lists each point, and one that is too long does not read back. */
const waitingPointsMax = 100_000;

/** What a group's part of the spool is made of. */
export interface SpoolGroupOptions {
  readonly files: FileSystem;
  readonly directory: string;
  readonly room: SpoolRoom;
}

/** A group's part of the spool: its state and its delta files. */
export class SpoolGroup {
  readonly room: SpoolRoom;
  readonly #files: FileSystem;
  readonly #directory: string;
  #state: SpoolState = emptySpoolState;
  #newest: Point | null = null;
  #losses: LostPoints[] = [];
  /** Not in the state in memory any more, but maybe in the one on the medium. */
  #garbage: SpooledPoint[] = [];
  /** Acknowledgements since the state was written. */
  #unwritten = 0;
  #lastChange: Promise<unknown> = Promise.resolve();

  /** Use `openSpoolGroup`. */
  constructor(options: SpoolGroupOptions) {
    this.room = options.room;
    this.#files = options.files;
    this.#directory = options.directory;
  }

  get state(): SpoolState {
    return this.#state;
  }

  /** The newest point, spooled or not. */
  get newest(): Point | null {
    return this.#newest;
  }

  get waitingBytes(): number {
    return this.#state.points.reduce((sum, point) => sum + point.sizeBytes, 0);
  }

  /** What was lost since this was asked last. */
  takeLosses(): readonly LostPoints[] {
    return this.#losses.splice(0);
  }

  /** Called once: finds what an earlier life left. */
  async recover(): Promise<void> {
    await this.#files.makeDirectory(this.#directory);
    // Files that outlive a power cut need a directory that does.
    await this.#files.syncDirectory(dirname(this.#directory));
    const found = await readSpoolState(this.#files, this.#statePath);
    const state = found === null || found === "damaged" ? emptySpoolState : found;
    if (found === "damaged") {
      this.#losses.push({ points: [], reason: "What the spool knew did not read back." });
    }
    const whole = await this.#wholePoints(state.points);
    for (const point of whole) this.room.count(point.sizeBytes);
    await this.#removeUnknown(whole);
    const reason = "A delta file of the spool is missing or cut short.";
    const lost = { points: state.points.slice(whole.length), reason };
    this.#state = { ...state, points: whole };
    await this.changeAnyway(() => ({
      state: lost.points.length === 0 ? { ...this.#state } : withDropped(state, whole.length),
      lost: lost.points.length === 0 ? null : lost,
    }));
  }

  /** SPOOL_FULL unless one point more, of so many bytes, has room. */
  async requireRoom(bytes: number): Promise<void> {
    const waiting = this.#state.points.length;
    if (waiting >= waitingPointsMax) {
      const message = `${this.#directory} holds ${waiting} points, and no more are kept track of`;
      throw new Fault("SPOOL_FULL", message, { waiting, waitingPointsMax });
    }
    await this.room.look(bytes);
  }

  /** Starts a point's delta file. */
  async createDelta(header: PointHeader, codec: CodecChoice): Promise<DeltaWriter> {
    const path = this.#path(header, "part");
    // One that was given up while the medium was gone must not stand in the way.
    await this.#files.remove(path);
    return createDelta({ files: this.#files, path, header, codec, signal: neverAborted });
  }

  /** Removes what a point that was given up has left; a file that is not there is no error. */
  async discardPart(header: PointHeader): Promise<void> {
    await this.#files.remove(this.#path(header, "part"));
  }

  /** Seals a finished delta into the spool: when it resolves the source may forget. The room was taken by the caller. */
  async commit(point: Point, update: (state: SpoolState) => StateChange): Promise<void> {
    const path = this.#path(point, "delta");
    await this.#files.rename(this.#path(point, "part"), path);
    try {
      await this.#files.syncDirectory(this.#directory);
      await this.change(update, point);
    } catch (error) {
      // The state may have been replaced and only its answer lost: the point will be given up, so it must not be listed.
      await this.changeAnyway((state) => ({ state: { ...state } }));
      // Nobody's now. What cannot be removed goes at the next start.
      await this.#files.remove(path).catch(ignoreFault);
      throw error;
    }
  }

  /** Opens the delta of a point that waits. SPOOL_CORRUPT unless it is the one that was sealed. */
  openPoint(point: SpooledPoint): Promise<DeltaReader> {
    const { contentRoot } = point;
    const path = this.#path(point, "delta");
    const opening = () => openDelta({ files: this.#files, path, expected: { contentRoot } });
    return asSpoolCorrupt(point, opening);
  }

  /** Replaces the state, durable when it resolves. Rejects with STORAGE_*, and then it is as before. */
  async change(
    update: (state: SpoolState) => StateChange,
    newest: Point | null = null,
  ): Promise<void> {
    await this.#inTurn(update, { newest, mustBeDurable: true });
  }

  /**
   * The same of what is so whether it can be written down or not: a fault of the medium is returned, and the next change writes
   * this one too.
   */
  changeAnyway(update: (state: SpoolState) => StateChange): Promise<Fault | null> {
    return this.#inTurn(update, { newest: null, mustBeDurable: false });
  }

  /**
   * The same of points that the vault acknowledged: while many wait it is written down only now and then, for what is not known
   * of it after a kill the vault tells.
   */
  async acknowledge(update: (state: SpoolState) => StateChange): Promise<Fault | null> {
    this.#unwritten += 1;
    const isPrompt =
      this.#state.points.length <= promptPointsMax || this.#unwritten >= acknowledgementsPerWrite;
    return this.#inTurn(update, { newest: null, mustBeDurable: false, mayWait: !isPrompt });
  }

  /** Nothing had changed since the vault's head at that time; of use to this process only. */
  rememberCurrent({ point, atMs }: { readonly point: PointId; readonly atMs: number }): void {
    const { vaultHead, points } = this.#state;
    if (vaultHead === null || vaultHead.id !== point) return;
    const confirmed = { ...vaultHead, currentAtMs: atMs };
    this.#state = { ...this.#state, vaultHead: confirmed };
    if (points.length === 0) this.#newest = confirmed;
  }

  /** Resolves when no change is under way. */
  async settled(): Promise<void> {
    await this.#lastChange;
  }

  /** Drops the point and everything after it; `owed` stays, and the next point counts from there. */
  dropFrom(point: SpooledPoint, reason: string): Promise<Fault | null> {
    return this.changeAnyway((state) => {
      const index = state.points.findIndex(({ id }) => id === point.id);
      if (index === -1) return { state };
      const lost = { points: state.points.slice(index), reason };
      return { state: withDropped(state, index), lost };
    });
  }

  async #inTurn(
    update: (state: SpoolState) => StateChange,
    options: ApplyOptions,
  ): Promise<Fault | null> {
    const applying = this.#lastChange.then(() => this.#apply(update, options));
    this.#lastChange = applying.catch(() => {}); // Whoever asked was told.
    return applying;
  }

  async #apply(
    update: (state: SpoolState) => StateChange,
    { newest, mustBeDurable, mayWait = false }: ApplyOptions,
  ): Promise<Fault | null> {
    const before = this.#state;
    const change = update(before);
    if (change.state === before) return null;
    const { state, point, lost } = await this.#withNewest(change.state, newest);
    let behind: Fault | null = null;
    try {
      if (!mayWait) await this.#write(state);
    } catch (error) {
      if (mustBeDurable || !isFault(error)) throw error;
      behind = error;
    }
    this.#state = state;
    this.#newest = point;
    const kept = new Set(state.points.map(({ id }) => id));
    this.#garbage.push(...before.points.filter(({ id }) => !kept.has(id)));
    for (const loss of [change.lost ?? null, lost]) if (loss !== null) this.#losses.push(loss);
    // A file that the state on the medium lists is there.
    if (behind === null && !mayWait) await this.#sweep();
    return behind;
  }

  async #write(state: SpoolState): Promise<void> {
    await writeSpoolState(this.#files, this.#statePath, state);
    this.#unwritten = 0;
  }

  /** The state with what its newest point says of itself; one that does not read back is dropped, and so on. */
  async #withNewest(changed: SpoolState, known: Point | null) {
    let state = changed;
    const lost: SpooledPoint[] = [];
    for (;;) {
      const last = state.points.at(-1);
      const point = [known, this.#newest, state.vaultHead].find((one) => one?.id === last?.id);
      const found = last === undefined ? state.vaultHead : (point ?? (await this.#read(last)));
      if (last === undefined || found !== null) {
        const reason = "A delta file of the spool does not read back.";
        return { state, point: found, lost: lost.length === 0 ? null : { points: lost, reason } };
      }
      lost.unshift(last);
      state = withDropped(state, state.points.length - 1);
    }
  }

  /** The point as its delta file tells it, or null when that does not read back. */
  async #read(point: SpooledPoint): Promise<Point | null> {
    try {
      await using reader = await this.openPoint(point);
      return spooledAsPoint(reader.header, point);
    } catch (error) {
      if (isFault(error, "SPOOL_CORRUPT")) return null;
      throw error;
    }
  }

  async #sweep(): Promise<void> {
    for (const point of this.#garbage.splice(0)) {
      try {
        await this.#files.remove(this.#path(point, "delta"));
        this.room.give(point.sizeBytes);
      } catch (error) {
        ignoreFault(error);
        this.#garbage.push(point);
        return;
      }
    }
  }

  /** Those before the first whose file is not there in full length. */
  async #wholePoints(points: readonly SpooledPoint[]): Promise<readonly SpooledPoint[]> {
    for (const [index, point] of points.entries()) {
      const status = await this.#files.stat(this.#path(point, "delta"));
      if (status?.kind !== "file" || status.sizeBytes !== point.sizeBytes) {
        return points.slice(0, index);
      }
    }
    return points;
  }

  async #removeUnknown(points: readonly SpooledPoint[]): Promise<void> {
    const known = new Set(points.map((point) => this.#path(point, "delta")));
    for (const name of await this.#files.list(this.#directory)) {
      const path = join(this.#directory, name);
      if (path !== this.#statePath && !known.has(path)) await this.#files.remove(path);
    }
  }

  get #statePath(): string {
    return join(this.#directory, "state");
  }

  #path({ sequence, id }: Pick<PointHeader, "sequence" | "id">, suffix: "part" | "delta"): string {
    return join(this.#directory, `${sequence}-${id}.${suffix}`);
  }
}

/** Opens a group's part of the spool. STORAGE_*. */
export async function openSpoolGroup(options: SpoolGroupOptions): Promise<SpoolGroup> {
  const group = new SpoolGroup(options);
  await group.recover();
  return group;
}

function ignoreFault(error: unknown): void {
  if (!isFault(error)) throw error;
}

import type { DiskName, PointId } from "../../src/core/ids.ts";
import type { Journal } from "../../src/core/journal.ts";
import type { Generation, Point } from "../../src/core/point.ts";
import type { DirectoryJournal } from "../../src/journal/directory-journal.ts";
import type { VirtualClock } from "../clock.ts";
import type { DiskImage } from "../disk-image.ts";
import { BrokenPromise, Oracle } from "../oracle.ts";
import type { SiteClock } from "./site-clock.ts";

interface Change {
  readonly monotonicMs: number;
  /** By the clock of the replicator's site. */
  readonly wallMs: number;
  readonly jumps: number;
}

/** Knows, over both sites, what each point must read as, which points must arrive, and what may be said of them. */
export class SitesOracle {
  /** What the vault holds. */
  readonly points: Oracle;
  readonly #clock: VirtualClock;
  readonly #site: SiteClock;
  readonly #imagesNow: () => ReadonlyMap<DiskName, DiskImage>;
  /** Sealed for the engine, at the vault or in the spool. */
  readonly #cut = new Map<PointId, Point>();
  readonly #mayMiss = new Set<PointId>();
  /** Sequences of points that completed a sync. */
  readonly #adopting = new Set<number>();
  readonly #images = new Map<string, ReadonlyMap<DiskName, DiskImage>>();
  readonly #takenAt = new Map<string, Change>();
  readonly #authors = new Map<string, string>();
  #changes: Change[] = [];
  #isHoleExcused = false;
  /** Who may write what comes behind that sequence. */
  #held: { readonly generation: Generation; readonly afterSequence: number };
  /** The first promise that was found broken: whoever is told may swallow it. */
  broken: BrokenPromise | null = null;
  /** The spool's medium said that something was on it and it was not. */
  isSpoolLying = false;
  /** Jumps of the wall clock of the replicator's site so far. */
  jumps = 0;

  constructor(options: {
    clock: VirtualClock;
    site: SiteClock;
    /** What the group's disks hold. */
    imagesNow: () => ReadonlyMap<DiskName, DiskImage>;
    /** Who writes the group to begin with. */
    holder: string;
    onSafe: (id: PointId) => void;
  }) {
    this.#held = { generation: { number: 1, holder: options.holder }, afterSequence: 0 };
    this.#clock = options.clock;
    this.#site = options.site;
    this.#imagesNow = options.imagesNow;
    this.points = new Oracle({ onAcknowledged: options.onSafe });
  }

  /** Ends the world; returns the error to throw. */
  breaks(finding: string): BrokenPromise {
    const broken = new BrokenPromise(finding);
    this.broken ??= broken;
    return broken;
  }

  noteInstant(id: string, images: ReadonlyMap<DiskName, DiskImage>, author: string): void {
    this.#authors.set(id, author);
    this.points.noteInstant(id, images);
    this.#images.set(id, images);
    this.#takenAt.set(id, this.#now());
  }

  imagesAt(id: string): ReadonlyMap<DiskName, DiskImage> | null {
    return this.#images.get(id) ?? null;
  }

  /** A guest changed one of the group's disks. */
  noteChange(): void {
    this.#changes.push(this.#now());
  }

  /** The engine took the point for sealed: from now on it must arrive. `adopts`: it completes a disk's sync. */
  noteCut(point: Point, { adopts }: { readonly adopts: boolean }): void {
    this.#cut.set(point.id, point);
    if (adopts) this.#adopting.add(point.sequence);
    // Whoever was overtaken and has not heard of it yet cuts for nothing.
    if (point.generation.number < this.#held.generation.number) this.#mayMiss.add(point.id);
    else this.points.noteSafe(point.id);
  }

  /** The vault has the point, as it says itself. */
  noteSealed(point: Point): void {
    this.points.noteAcknowledged(point);
    this.#checkHolder(point);
    this.#checkAuthor(point);
  }

  /** The link told the replicator that the vault has the point. */
  noteTold(point: Point, asked: PointId): void {
    if (point.id !== asked) throw this.breaks(`${asked} is told as sealed by another point`);
    if (this.points.isAcknowledged(point.id)) return;
    throw this.breaks(`#${point.sequence} ${point.id} is told as sealed, and never was`);
  }

  /** Points in the spool were damaged or lost, or may never be shipped: what was cut and has not arrived may be missing. */
  excuseHole(): void {
    this.#isHoleExcused = true;
    for (const id of this.#cut.keys()) if (!this.points.isAcknowledged(id)) this.#mayMiss.add(id);
  }

  /** The replicator's host lost what was not on its medium. */
  notePowerCut(): void {
    if (!this.isSpoolLying) return;
    this.excuseHole();
    this.points.excuseResync();
  }

  /** Points were dropped on purpose; the sequences are null when nobody knows which. */
  noteHole(from: number | null, to: number | null, reason: string): void {
    if (!this.#isHoleExcused && !this.points.isDamaged) {
      throw this.breaks(`points of the spool are dropped for nothing: ${reason}`);
    }
    // What was cut on top of a damaged point goes with it.
    this.excuseHole();
    // A sync that is lost with its point has to be done again; every other disk goes on from the bitmap that was kept.
    const isSyncLost = [...this.#adopting].some((at) => at >= (from ?? 0) && at <= (to ?? at));
    if (isSyncLost || from === null) this.points.excuseResync();
  }

  /** The vault says who holds the group: from the next point on nobody else may write. */
  noteGeneration(journal: Pick<DirectoryJournal, "generation" | "head">): void {
    const { generation } = journal;
    if (generation === null || generation.number <= this.#held.generation.number) return;
    this.#held = { generation, afterSequence: journal.head()?.sequence ?? 0 };
    this.excuseHole();
  }

  /** Nothing changed since the point until then, it is said. */
  noteConfirmed({ point, atMs }: { readonly point: PointId; readonly atMs: number }): void {
    const taken = this.#takenAt.get(point);
    if (taken === undefined) throw this.breaks(`${point} is confirmed and was never taken`);
    if (taken.jumps !== this.jumps) return;
    const later = this.#changes.find(
      ({ monotonicMs, wallMs }) => monotonicMs > taken.monotonicMs && wallMs < atMs,
    );
    // An image that is put back with its bitmaps takes back what the guest wrote since.
    if (later === undefined || this.#isAsAt(point)) return;
    const wrong = `${point} is said to be current at ${atMs}; the guest wrote at ${later.wallMs}`;
    throw this.breaks(wrong);
  }

  /** Everything that was cut has arrived, unless it may miss, and only holders wrote. */
  checkArrived(journal: Journal): void {
    const present = new Set(journal.points().map(({ id }) => id));
    for (const { id, sequence } of this.#cut.values()) {
      if (present.has(id) || this.#mayMiss.has(id) || this.points.isRetired(id)) continue;
      throw this.breaks(`point #${sequence} ${id} was cut and never arrived`);
    }
    for (const point of journal.points()) this.#checkHolder(point);
  }

  #checkHolder({ id, sequence, generation }: Point): void {
    const held = this.#held.generation;
    if (sequence <= this.#held.afterSequence) return;
    if (generation.number === held.number && generation.holder === held.holder) return;
    const by = `${generation.number} by ${generation.holder}`;
    throw this.breaks(`#${sequence} ${id} was sealed under ${by}, who does not hold it`);
  }

  /** Whoever drew the point holds the group, whatever the point says. */
  #checkAuthor({ id, sequence }: Point): void {
    if (sequence <= this.#held.afterSequence) return;
    const author = this.#authors.get(id);
    if (author === undefined || author === this.#held.generation.holder) return;
    throw this.breaks(`#${sequence} ${id} was sealed for ${author}, who does not hold it`);
  }

  #isAsAt(point: PointId): boolean {
    const images = this.#images.get(point);
    return [...this.#imagesNow()].every(([name, now]) => images?.get(name)?.isSameAs(now) ?? false);
  }

  #now(): Change {
    const monotonicMs = this.#clock.monotonicMs();
    return { monotonicMs, wallMs: this.#site.nowMs(), jumps: this.jumps };
  }
}

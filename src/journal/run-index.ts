import assert from "node:assert/strict";
import { sectorSizeBytes, windowSizeBytes } from "../core/limits.ts";
import { GrowingColumns } from "./growing-columns.ts";
import { firstAtOrAfter, sortStably } from "./sorted-keys.ts";

/** Read as zeroes: nothing newer, and a zero run beneath. */
export const fromZeroes = -2;
/** Not in any delta of the index: the base has it. */
export const fromBase = -1;

/** A run and the number of the entry that holds its newest bytes, or `fromZeroes` or `fromBase`. */
export interface Segment {
  readonly offsetBytes: number;
  readonly endBytes: number;
  readonly entry: number;
}

const windowSectors = windowSizeBytes / sectorSizeBytes;
/** A node of level n covers 16^n windows; eight levels above the windows reach over the largest disk (2^32 windows). */
const fanOut = 16;
const levelsMax = 9;
/** A span packs the run within its window: zero flag, first sector (11 bits), sectors - 1 (11 bits). */
const spanZero = 2 ** 22;
assert(windowSectors === 2048 && fanOut ** (levelsMax - 1) === 2 ** 32);

/**
 * Which entry of which delta holds the newest bytes of each sector of one disk: twelve bytes for each entry.
 * Entries are filed under the window they lie in and sorted by it, older before newer; a long zero run is filed under
 * the few nodes of a 16-way tree that make it up. What a window shows is worked out when it is read.
 */
export class RunIndex {
  readonly #levels: readonly SortedLevel[];

  constructor(levels: readonly SortedLevel[]) {
    this.#levels = levels;
  }

  /** Whose bytes a window shows: segments in order, without gaps, over the whole window. */
  windowSegments(window: number): Segment[] {
    return resolveWindow(this.#levels[0]!, window, this.#coverOf(window));
  }

  /** The same over any run, in order and without gaps; neighbours of one entry are one segment. */
  *segments(offsetBytes: number, endBytes: number): Generator<Segment, void, undefined> {
    let pending: Segment | null = null;
    for (const next of this.#segmentsByWindow(offsetBytes, endBytes)) {
      if (pending !== null && pending.entry === next.entry) {
        pending = { offsetBytes: pending.offsetBytes, endBytes: next.endBytes, entry: next.entry };
        continue;
      }
      if (pending !== null) yield pending;
      pending = next;
    }
    if (pending !== null) yield pending;
  }

  *#segmentsByWindow(offsetBytes: number, endBytes: number): Generator<Segment, void, undefined> {
    let atBytes = offsetBytes;
    while (atBytes < endBytes) {
      const window = Math.floor(atBytes / windowSizeBytes);
      const pieces = this.#levels[0]!.has(window)
        ? this.windowSegments(window)
        : [this.#plainSegment(window)];
      for (const piece of pieces) {
        const end = Math.min(piece.endBytes, endBytes);
        if (end <= atBytes) continue;
        yield { offsetBytes: atBytes, endBytes: end, entry: piece.entry };
        atBytes = end;
      }
    }
  }

  /** From a window in which nothing begins up to where the next thing begins or a long zero run ends. */
  #plainSegment(window: number): Segment {
    let stop = Number.POSITIVE_INFINITY;
    for (const [level, sorted] of this.#levels.entries()) {
      const nodeWindows = fanOut ** level;
      const node = Math.floor(window / nodeWindows);
      if (level > 0 && sorted.has(node)) stop = Math.min(stop, (node + 1) * nodeWindows);
      const next = sorted.keyAt(sorted.firstAtOrAfter(node + 1));
      if (next !== undefined) stop = Math.min(stop, next * nodeWindows);
    }
    const entry = this.#coverOf(window) === -1 ? fromBase : fromZeroes;
    return {
      offsetBytes: window * windowSizeBytes,
      endBytes: stop * windowSizeBytes,
      entry,
    };
  }

  /** The newest long zero run over the window, or -1. */
  #coverOf(window: number): number {
    let newest = -1;
    for (let level = 1; level < this.#levels.length; level += 1) {
      const sorted = this.#levels[level]!;
      if (sorted.length === 0) continue;
      const node = Math.floor(window / fanOut ** level);
      const last = sorted.firstAtOrAfter(node + 1) - 1;
      if (last >= 0 && sorted.keys[last] === node) newest = Math.max(newest, sorted.entries[last]!);
    }
    return newest;
  }
}

/** One level's entries, sorted by node and within a node from old to new. */
class SortedLevel {
  readonly keys: Uint32Array;
  readonly entries: Uint32Array;
  readonly spans: Uint32Array;

  constructor(columns: GrowingColumns) {
    [this.keys, this.entries, this.spans] = sortStably(columns);
  }

  get length(): number {
    return this.keys.length;
  }
  firstAtOrAfter(node: number): number {
    return firstAtOrAfter(this.keys, node);
  }
  keyAt(position: number): number | undefined {
    return this.keys[position];
  }
  has(node: number): boolean {
    return this.keys[this.firstAtOrAfter(node)] === node;
  }
}

/** Newest first, each entry takes what is still open in the window; what nobody took is the cover's or the base's. */
function resolveWindow(level: SortedLevel, window: number, cover: number): Segment[] {
  const startBytes = window * windowSizeBytes;
  const taken: Segment[] = [];
  let open: number[] = [0, windowSectors]; // Pairs of sectors: from, to.
  const take = (from: number, to: number, entry: number) => {
    const left: number[] = [];
    for (let pair = 0; pair < open.length; pair += 2) {
      const [openFrom, openTo] = [open[pair]!, open[pair + 1]!];
      const [start, end] = [Math.max(from, openFrom), Math.min(to, openTo)];
      if (start >= end) {
        left.push(openFrom, openTo);
        continue;
      }
      const offsetBytes = startBytes + start * sectorSizeBytes;
      taken.push({ offsetBytes, endBytes: startBytes + end * sectorSizeBytes, entry });
      if (openFrom < start) left.push(openFrom, start);
      if (end < openTo) left.push(end, openTo);
    }
    open = left;
  };
  for (let at = level.firstAtOrAfter(window + 1) - 1; at >= 0 && open.length > 0; at -= 1) {
    const entry = level.entries[at]!;
    if (level.keys[at] !== window || entry < cover) break;
    const span = level.spans[at]!;
    const from = Math.floor(span / windowSectors) % windowSectors;
    take(from, from + (span % windowSectors) + 1, span >= spanZero ? fromZeroes : entry);
  }
  take(0, windowSectors, cover === -1 ? fromBase : fromZeroes);
  return taken.sort((left, right) => left.offsetBytes - right.offsetBytes);
}

/** Collects the entries of one disk, delta after delta from old to new, and sorts them once. */
export class RunIndexBuilder {
  readonly #levels = Array.from({ length: levelsMax }, () => new GrowingColumns());

  /** Adds entry number `entry` (growing from call to call); data lies within one window, a zero run may be of any length. */
  add(entry: number, offsetBytes: number, lengthBytes: number, isZero: boolean): void {
    const endBytes = offsetBytes + lengthBytes;
    const first = Math.floor(offsetBytes / windowSizeBytes);
    if (endBytes <= (first + 1) * windowSizeBytes) {
      this.#addSpan(entry, first, offsetBytes, endBytes, isZero);
      return;
    }
    assert(isZero, "data crosses a window");
    const wholeFrom = Math.ceil(offsetBytes / windowSizeBytes);
    const wholeTo = Math.floor(endBytes / windowSizeBytes);
    if (wholeFrom > first) {
      this.#addSpan(entry, first, offsetBytes, wholeFrom * windowSizeBytes, true);
    }
    this.#addWholeWindows(entry, wholeFrom, wholeTo);
    if (wholeTo * windowSizeBytes < endBytes) {
      this.#addSpan(entry, wholeTo, wholeTo * windowSizeBytes, endBytes, true);
    }
  }

  build(): RunIndex {
    return new RunIndex(this.#levels.map((columns) => new SortedLevel(columns)));
  }

  #addSpan(entry: number, window: number, offsetBytes: number, endBytes: number, isZero: boolean) {
    const from = (offsetBytes - window * windowSizeBytes) / sectorSizeBytes;
    const sectors = (endBytes - offsetBytes) / sectorSizeBytes;
    assert(Number.isInteger(from) && Number.isInteger(sectors) && sectors > 0);
    const span = (isZero ? spanZero : 0) + from * windowSectors + sectors - 1;
    this.#levels[0]!.push(window, entry, span);
  }

  /** Cuts [from, to) into the largest aligned nodes. */
  #addWholeWindows(entry: number, from: number, to: number): void {
    let at = from;
    while (at < to) {
      let level = 0;
      while (level + 1 < levelsMax && fits(at, fanOut ** (level + 1), to)) level += 1;
      this.#levels[level]!.push(at / fanOut ** level, entry, spanZero + windowSectors - 1);
      at += fanOut ** level;
    }
  }
}

function fits(at: number, nodeWindows: number, to: number): boolean {
  return at % nodeWindows === 0 && at + nodeWindows <= to;
}

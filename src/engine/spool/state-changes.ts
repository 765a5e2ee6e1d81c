import assert from "node:assert/strict";
import type { DiskName } from "../../core/ids.ts";
import type { OwedChanges, StagedStatus, StageRequest } from "../../core/journal.ts";
import type { Point } from "../../core/point.ts";
import { type DroppedPoint, type SpooledPoint, type SpoolState, sizesOf } from "./spool-state.ts";

// What must never happen: a disk's changes are counted from a bitmap that does not know all of them.
//
// While points wait, the bitmap of `owed.since` records on beside that of the newest point. `smallestSizeBytes` names the disks for
// which it did so without a gap: one that was read whole meanwhile (its staged parts join a point), or was not in a point, is
// left out until the spool was empty once.

/** So many dropped points are remembered: the oldest, which are the likeliest to be at the vault, and the newest. */
const droppedPointsMax = 1_024;

/** A point was cut into the spool. */
export function withCut(state: SpoolState, point: Point, spooled: SpooledPoint): SpoolState {
  const adopted = new Set(spooled.adopted.map((request) => request.disk));
  // Before the vault's first point there is no bitmap but this point's own.
  const owed = state.owed ?? owedFrom(state.vaultHead) ?? owedFrom(point);
  assert(owed !== null, "a point to count from");
  const isFirst = owed.since === point.id;
  return {
    ...state,
    owed: witnessed(owed, point, isFirst ? new Set() : adopted),
    points: [...state.points, spooled],
  };
}

/** The vault holds the point at `index` and all before it; `point` is how it tells it. */
export function withAcknowledged(state: SpoolState, index: number, point: Point): SpoolState {
  const points = state.points.slice(index + 1);
  const joined = state.points.slice(0, index + 1).flatMap((acknowledged) => acknowledged.adopted);
  const isAllThere = points.length === 0 && state.owed?.witness === point.id;
  return {
    ...state,
    vaultHead: point,
    generation: point.generation,
    staged: notJoined(state.staged, joined),
    unanswered: null,
    dropped: [],
    owed: isAllThere ? null : state.owed,
    points,
  };
}

/** The vault has a sync's parts so far; a disk has one sync. */
export function withStaged(state: SpoolState, status: StagedStatus): SpoolState {
  const others = state.staged.filter(({ disk }) => disk !== status.disk);
  return { ...state, staged: [...others, status] };
}

/** Points from `index` on cannot be shipped: what they held is counted again. */
export function withDropped(state: SpoolState, index: number): SpoolState {
  const points = state.points.slice(0, index);
  const isNothingLeft = points.length === 0 && state.vaultHead === null;
  const dropped = [...state.dropped, ...state.points.slice(index)]
    .map(({ id, sequence }) => ({ id, sequence }))
    .sort((a, b) => a.sequence - b.sequence);
  return {
    ...state,
    owed: isNothingLeft ? null : state.owed,
    dropped: withoutMiddle(dropped),
    points,
  };
}

function withoutMiddle(dropped: readonly DroppedPoint[]): readonly DroppedPoint[] {
  if (dropped.length <= droppedPointsMax) return dropped;
  return [...dropped.slice(0, droppedPointsMax - 1), ...dropped.slice(-1)];
}

/** A point is about to be sealed at the vault directly: from now on it may be there. */
export function withUnanswered(
  state: SpoolState,
  point: Point,
  adopted: readonly StageRequest[] = [],
): SpoolState {
  const readWhole = new Set(adopted.map((request) => request.disk));
  const owed = state.owed ?? owedFrom(state.vaultHead) ?? owedFrom(point);
  assert(owed !== null, "a point to count from");
  const isFirst = owed.since === point.id;
  return {
    ...state,
    owed: witnessed(owed, point, isFirst ? new Set() : readWhole),
    unanswered: point,
  };
}

/** The vault refused the point for good: how things stood before. */
export function withRefused(state: SpoolState, before: SpoolState): SpoolState {
  return { ...state, owed: before.owed, unanswered: before.unanswered };
}

/** The vault sealed a point that went to it directly, and took over the syncs that the point completed. */
export function withDirectlySealed(
  state: SpoolState,
  point: Point,
  adopted: readonly StageRequest[] = [],
): SpoolState {
  assert(state.points.length === 0, "points go directly only past an empty spool");
  return {
    ...state,
    vaultHead: point,
    generation: point.generation,
    staged: notJoined(state.staged, adopted),
    owed: null,
    unanswered: null,
    dropped: [],
  };
}

function notJoined(
  staged: readonly StagedStatus[],
  joined: readonly StageRequest[],
): readonly StagedStatus[] {
  return staged.filter((one) => !joined.some(({ identity }) => identity === one.identity));
}

function owedFrom(point: Point | null): OwedChanges | null {
  if (point === null) return null;
  return { since: point.id, witness: point.id, smallestSizeBytes: sizesOf(point) };
}

function witnessed(owed: OwedChanges, point: Point, readWhole: ReadonlySet<DiskName>): OwedChanges {
  const smallest = new Map<DiskName, number>();
  for (const disk of point.disks) {
    const before = owed.smallestSizeBytes.get(disk.name);
    if (before === undefined || readWhole.has(disk.name)) continue;
    smallest.set(disk.name, Math.min(before, disk.sizeBytes));
  }
  return { since: owed.since, witness: point.id, smallestSizeBytes: smallest };
}

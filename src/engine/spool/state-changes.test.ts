import { describe, expect, test } from "vitest";
import type { HashHex } from "../../core/ids.ts";
import type { IntakeStanding } from "../../core/journal.ts";
import type { Point, PointDisk } from "../../core/point.ts";
import { diskForTest, headerForTest, idForTest } from "../../delta/header-for-test.ts";
import { reconcile } from "./reconcile.ts";
import { emptySpoolState, type SpooledPoint, type SpoolState } from "./spool-state.ts";
import { spooledAsPoint } from "./spooled-point.ts";
import {
  withAcknowledged,
  withCut,
  withDirectlySealed,
  withDropped,
  withUnanswered,
} from "./state-changes.ts";
import { decodeSpoolState, encodeSpoolState } from "./state-file.ts";

const disks = [diskForTest(1, 40_960), diskForTest(2, 8_192)];
const holder = "00000000000000aa";
const group = { name: headerForTest(1, disks).group, holder };

function spooled(sequence: number, more: Partial<SpooledPoint> = {}): SpooledPoint {
  return {
    id: idForTest(sequence),
    sequence,
    fromPoint: idForTest(sequence - 1),
    takenAtMs: 1000 * sequence,
    generationNumber: 1,
    contentRoot: "ab".repeat(32) as HashHex,
    sizeBytes: 1000,
    ...{ dirtyBytes: 1, readBytes: 1, clock: null, adopted: [], isRebased: false },
    ...more,
  };
}

const point = (sequence: number, of: readonly PointDisk[] = disks): Point =>
  spooledAsPoint(headerForTest(sequence, of), spooled(sequence));

const atVault = (sequence: number): SpoolState => ({
  ...emptySpoolState,
  isVaultKnown: true,
  vaultHead: point(sequence),
  generation: { number: 1, holder },
});

/** The vault holds point 1; 2 to `last` wait. */
function waiting(last: number, of: (sequence: number) => readonly PointDisk[] = () => disks) {
  let state = atVault(1);
  for (let sequence = 2; sequence <= last; sequence += 1) {
    state = withCut(state, point(sequence, of(sequence)), spooled(sequence));
  }
  return state;
}

const says = (head: Point | null, number = 1): IntakeStanding => ({
  ...{ head, staged: [], owed: null },
  generation: { number, holder },
});

describe("a disk's changes are never counted from a bitmap that does not know all of them", () => {
  test("changes are owed since the vault's head, and the newest point is the witness", () => {
    expect(waiting(4).owed).toMatchObject({ since: idForTest(1), witness: idForTest(4) });
    expect(withAcknowledged(waiting(4), 1, point(3)).owed?.since).toBe(idForTest(1));
    expect(withAcknowledged(waiting(4), 2, point(4)).owed).toBeNull();
  });

  test("the smallest size of each disk is remembered", () => {
    const sizes = [0, 0, 40_960, 512, 81_920];
    const state = waiting(4, (sequence) => [diskForTest(1, sizes[sequence]!), disks[1]!]);
    expect([...state.owed!.smallestSizeBytes.values()]).toEqual([512, 8_192]);
  });

  test("a disk that was read whole meanwhile is not trusted until the spool was empty", () => {
    const { name: disk, identity, sizeBytes } = disks[1]!;
    const request = { kind: "parts" as const, disk, identity, sizeBytes, syncId: idForTest(99) };
    const state = withCut(waiting(2), point(3), spooled(3, { adopted: [request] }));
    expect([...state.owed!.smallestSizeBytes.keys()]).toEqual([disks[0]!.name]);
    const later = withCut(state, point(4), spooled(4));
    expect([...later.owed!.smallestSizeBytes.keys()]).toEqual([disks[0]!.name]);
  });

  test("a disk that was away in a point is not trusted when it is back", () => {
    const state = waiting(4, (sequence) => (sequence === 3 ? [disks[0]!] : disks));
    expect([...state.owed!.smallestSizeBytes.keys()]).toEqual([disks[0]!.name]);
  });

  test("what was dropped stays owed, and its witness stays wanted", () => {
    const state = withDropped(waiting(4), 1);
    expect(state.points.map(({ sequence }) => sequence)).toEqual([2]);
    expect(state.owed).toMatchObject({ since: idForTest(1), witness: idForTest(4) });
    // Shipping what was left does not end it: the next point does.
    const shipped = withAcknowledged(state, 0, point(2));
    expect(shipped.owed).toMatchObject({ since: idForTest(1), witness: idForTest(4) });
    expect(withDirectlySealed(shipped, point(5)).owed).toBeNull();
  });

  test("a first point that is lost is owed to nobody", () => {
    const state = withCut({ ...emptySpoolState, isVaultKnown: true }, point(1), spooled(1));
    expect(state.owed).toMatchObject({ since: idForTest(1), witness: idForTest(1) });
    expect(withDropped(state, 0).owed).toBeNull();
  });
});

describe("what the vault says", () => {
  const ids = (state: SpoolState) => state.points.map(({ sequence }) => sequence);

  test("that nothing arrived", () => {
    const { state, lost } = reconcile(waiting(3), says(point(1)), group);
    expect([ids(state), lost]).toEqual([[2, 3], null]);
  });

  test("that the first points arrived", () => {
    const { state, lost } = reconcile(waiting(5), says(point(3)), group);
    expect([ids(state), lost, state.vaultHead?.sequence]).toEqual([[4, 5], null, 3]);
  });

  test("that the unanswered point was sealed: the first that waits goes on from it", () => {
    const unsure = withUnanswered(atVault(1), point(7));
    const cut = withCut(unsure, point(8), spooled(8, { fromPoint: idForTest(1) }));
    const { state, lost } = reconcile(cut, says(point(7)), group);
    expect(lost).toBeNull();
    expect(state.points).toMatchObject([{ sequence: 8, isRebased: true }]);
    expect(state.owed).toMatchObject({ since: idForTest(1), witness: idForTest(8) });
  });

  test("that the unanswered point was sealed: parts compared with an older head do not fit on it", () => {
    const { name: disk, identity, sizeBytes } = disks[1]!;
    const request = { kind: "parts" as const, disk, identity, sizeBytes, syncId: idForTest(99) };
    const unsure = withUnanswered(atVault(1), point(7));
    const cut = withCut(unsure, point(8), spooled(8, { adopted: [request] }));
    const { state, lost } = reconcile(cut, says(point(7)), group);
    expect([ids(state), lost?.points.length]).toEqual([[], 1]);
  });

  test("that the unanswered point was sealed, and nothing waits: its bitmap is right", () => {
    const unsure = withUnanswered(atVault(1), point(7));
    expect(unsure.owed).toMatchObject({ since: idForTest(1), witness: idForTest(7) });
    const { state } = reconcile(unsure, says(point(7)), group);
    expect(state).toMatchObject({ owed: null, unanswered: null, vaultHead: { sequence: 7 } });
  });

  test("that a dropped point was sealed: those before it were too, and the first behind it goes on from it", () => {
    const dropped = withDropped(waiting(4), 1);
    expect(dropped.dropped.map(({ sequence }) => sequence)).toEqual([3, 4]);
    const cut = withCut(dropped, point(5), spooled(5, { fromPoint: idForTest(2) }));
    const { state, lost } = reconcile(cut, says(point(3)), group);
    expect([lost, state.dropped, state.vaultHead?.sequence]).toEqual([null, [], 3]);
    expect(state.points).toMatchObject([{ sequence: 5, isRebased: true }]);
    expect(state.owed).toMatchObject({ since: idForTest(1), witness: idForTest(5) });
  });

  test("that a dropped point was sealed, and nothing was cut since: only the newest one's bitmap is right", () => {
    const newest = reconcile(withDropped(waiting(4), 0), says(point(4)), group).state;
    expect([ids(newest), newest.owed]).toEqual([[], null]);
    const older = reconcile(withDropped(waiting(4), 0), says(point(3)), group).state;
    expect(older.owed).toMatchObject({ since: idForTest(1), witness: idForTest(4) });
  });

  test("that a dropped point was sealed: one that completes a sync does not fit on it", () => {
    const { name: disk, identity, sizeBytes } = disks[1]!;
    const request = { kind: "parts" as const, disk, identity, sizeBytes, syncId: idForTest(99) };
    const dropped = withDropped(waiting(3), 0);
    const cut = withCut(dropped, point(5), spooled(5, { adopted: [request] }));
    const { state, lost } = reconcile(cut, says(point(3)), group);
    expect([ids(state), lost?.points.length]).toEqual([[], 1]);
  });

  test("that what we ship arrived: what was dropped before never will", () => {
    const left = withAcknowledged(withDropped(waiting(4), 1), 0, point(2));
    expect(left.dropped).toEqual([]);
  });

  test("something that we do not know: what waits continues nothing", () => {
    for (const head of [point(9), null]) {
      const { state, lost } = reconcile(waiting(3), says(head), group);
      expect([ids(state), lost?.points.length, state.owed]).toEqual([[], 2, null]);
    }
  });

  test("that we hold a later generation: points of the older one are not shipped", () => {
    const { state, lost } = reconcile(waiting(3), says(point(1), 2), group);
    expect([ids(state), lost?.points.length]).toEqual([[], 2]);
    expect(state.owed?.since).toBe(idForTest(1));
  });

  test("that another holds a later generation than we did", () => {
    const other = { number: 2, holder: "00000000000000bb" };
    const ask = () => reconcile(waiting(3), { ...says(point(1)), generation: other }, group);
    expect(ask).toThrowError(expect.objectContaining({ code: "GENERATION_STALE" }));
    const same = () =>
      reconcile(waiting(3), { ...says(point(1)), generation: { ...other, number: 1 } }, group);
    expect(same).toThrowError(expect.objectContaining({ code: "GENERATION_CONFLICT" }));
  });
});

describe("the state's file", () => {
  test("gives back what was written, without the machines' descriptions", () => {
    const state = waiting(3);
    const back = decodeSpoolState(encodeSpoolState(state));
    expect(back).toEqual({ ...state, vaultHead: { ...state.vaultHead, machines: [] } });
  });

  test("any byte that changed is noticed", () => {
    const text = encodeSpoolState(waiting(3));
    for (let at = 0; at < text.length; at += 13) {
      const other = text[at] === "x" ? "y" : "x";
      expect(decodeSpoolState(text.slice(0, at) + other + text.slice(at + 1))).toBeNull();
      expect(decodeSpoolState(text.slice(0, at))).toBeNull();
    }
  });
});

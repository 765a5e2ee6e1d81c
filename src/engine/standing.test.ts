import { describe, expect, test } from "vitest";
import type { PointId } from "../core/ids.ts";
import type { OwedChanges, StagedStatus } from "../core/journal.ts";
import type { DiskTracking } from "../core/source.ts";
import { diskForTest, headerForTest, idForTest } from "../delta/header-for-test.ts";
import { spooledAsPoint } from "./spool/spooled-point.ts";
import { decideStanding, isReadyToCut, type StandingInput } from "./standing.ts";

const disk = diskForTest(1, 40_960);
const [h, s, w, sync] = [idForTest(1), idForTest(2), idForTest(3), idForTest(77)] as const;
const generation = { number: 1, holder: "00000000000000aa" };

function pointAt(sequence: number) {
  return spooledAsPoint(headerForTest(sequence, [disk]), {
    ...{ id: idForTest(sequence), sequence, fromPoint: null, takenAtMs: 0, generationNumber: 1 },
    ...{ contentRoot: "00".repeat(32) as never, sizeBytes: 1, dirtyBytes: 0, readBytes: 0 },
    ...{ clock: null, adopted: [], isRebased: false },
  });
}

const owed = (more: Partial<OwedChanges> = {}): OwedChanges => ({
  ...{ since: h, witness: w, smallestSizeBytes: new Map([[disk.name, 512]]) },
  ...more,
});

function tracked(...kept: readonly PointId[]): DiskTracking {
  const found = { name: disk.name, sizeBytes: disk.sizeBytes };
  const [since] = kept;
  if (since === undefined) return { disk: found, state: "untracked", cause: "It is gone." };
  return { disk: found, state: "tracked", since, kept };
}

function decide(more: Partial<StandingInput>) {
  return decideStanding({
    ...{ head: pointAt(1), staged: [], owed: null, tracking: [], generation },
    ...{ newSyncId: idForTest(88), drawIdentity: () => disk.identity, causes: new Map() },
    ...more,
  });
}

const stagedParts = (more: Partial<StagedStatus> = {}): StagedStatus => ({
  ...{ kind: "parts", disk: disk.name, identity: disk.identity, sizeBytes: disk.sizeBytes },
  ...{ syncId: sync, resumeAtBytes: 4096 },
  ...more,
});

describe("a disk counts", () => {
  const counted = [
    ["from the head, when its bitmap is there", pointAt(1), null, [h], h, 40_960],
    ["from the newest point of the spool, the witness", pointAt(3), owed(), [w, h], w, 40_960],
    ["from that alone, whatever became of the older", pointAt(3), owed(), [w], w, 40_960],
    ["from what is owed since, when points were lost", pointAt(2), owed(), [s, h, w], h, 512],
    ["from the vault's head, when all points were lost", pointAt(1), owed(), [h, w], h, 512],
  ] as const;
  for (const [what, head, owes, kept, since, countedSizeBytes] of counted) {
    test(what, () => {
      const { standing } = decide({ head, owed: owes, tracking: [tracked(...kept)] });
      expect(standing.disks).toMatchObject([
        { state: "tracked", since, countedSizeBytes, previousSizeBytes: 40_960 },
      ]);
      expect(standing.notes).toEqual([]);
      expect(isReadyToCut(standing)).toBe(true);
    });
  }

  test("from its head's size where that was the smallest", () => {
    const large = owed({ smallestSizeBytes: new Map([[disk.name, 81_920]]) });
    const { standing } = decide({ head: pointAt(2), owed: large, tracking: [tracked(h, w)] });
    expect(standing.disks[0]).toMatchObject({ countedSizeBytes: 40_960 });
  });
});

describe("a disk is read whole", () => {
  const read = [
    ["none of its bitmaps is right", pointAt(1), null, [s]],
    ["it has none at all", pointAt(1), null, []],
    ["its image came from before the points that were lost", pointAt(2), owed(), [s, h]],
    ["only the lost points' bitmap is there", pointAt(2), owed(), [w]],
    ["its bitmap has a gap", pointAt(2), owed({ smallestSizeBytes: new Map() }), [h, w]],
  ] as const;
  for (const [what, head, owes, kept] of read) {
    test(`when ${what}`, () => {
      const { standing } = decide({ head, owed: owes, tracking: [tracked(...kept)] });
      expect(standing.disks).toMatchObject([
        { state: "syncing", kind: "parts", isRecording: false, resumeAtBytes: 0 },
      ]);
      expect(standing.notes[0]).toContain("was resynced by hash");
    });
  }

  test("for the first time when the head does not hold it", () => {
    const { standing } = decide({ head: null, owed: owed(), tracking: [tracked(h, w)] });
    expect(standing.disks).toMatchObject([{ state: "syncing", kind: "base" }]);
    expect(standing.notes).toEqual([]);
  });
});

describe("a sync", () => {
  test("goes on where it was, also beside a bitmap that is owed", () => {
    const input = { staged: [stagedParts()], owed: owed(), tracking: [tracked(h, sync)] };
    const { standing, stale } = decide({ head: pointAt(2), ...input });
    expect(standing.disks).toMatchObject([
      { syncId: sync, isRecording: true, resumeAtBytes: 4096 },
    ]);
    expect(stale).toEqual([]);
  });

  test("begins anew, over the same parts, when its bitmap is gone", () => {
    const { standing, stale } = decide({ staged: [stagedParts()], tracking: [tracked()] });
    expect(standing.disks).toMatchObject([{ syncId: idForTest(88), resumeAtBytes: 0 }]);
    expect(stale).toEqual([]);
  });

  test("whose point was sealed is over, and its parts are stale", () => {
    const { standing, stale } = decide({ staged: [stagedParts()], tracking: [tracked(h, sync)] });
    expect(standing.disks).toMatchObject([{ state: "tracked", since: h }]);
    expect(stale).toHaveLength(1);
  });

  test("of a disk that has another size since begins anew", () => {
    const staged = [stagedParts({ sizeBytes: 8192 })];
    const { standing, stale } = decide({ staged, tracking: [tracked(sync)] });
    expect(standing.disks).toMatchObject([{ syncId: idForTest(88), isRecording: false }]);
    expect(stale).toHaveLength(1);
  });
});

test("a disk that is gone is noted", () => {
  expect(decide({}).standing.notes).toEqual([`${disk.name} was removed from the group.`]);
});

import { Fault } from "../base/fault.ts";
import type { DiskIdentity, DiskName, GroupName, HashHex, PointId } from "../core/ids.ts";
import type { JournalIntake, PointWriter } from "../core/journal.ts";
import type { Point, PointHeader } from "../core/point.ts";

/** A journal that takes everything and keeps nothing but counts; a test may hold its writes. */
export interface FakeIntake extends JournalIntake {
  readonly group: GroupName;
  chunks: number;
  bytes: number;
  /** Writes being executed now, and the most there ever were. */
  writing: number;
  writingMax: number;
  begun: number;
  givenUp: number;
  disposed: number;
  /** Awaited by every write. */
  hold: Promise<void> | null;
}

export const fakeDisk = {
  name: "vm/disk" as DiskName,
  identity: "00000000000000d1" as DiskIdentity,
  sizeBytes: 2 ** 40,
  previousSizeBytes: 2 ** 40,
};

export function fakeHeader(group: GroupName, holder = "00000000000000aa"): PointHeader {
  return {
    id: "00000000000000e1" as PointId,
    group,
    generation: { number: 1, holder },
    sequence: 2,
    fromSequence: 1,
    fromPoint: "00000000000000e0" as PointId,
    instant: { lowerMs: 1, upperMs: 2, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [fakeDisk],
    machines: [],
    notes: [],
  };
}

export function fakeIntake(group: GroupName): FakeIntake {
  let head: Point | null = null;
  const intake: FakeIntake = {
    group,
    chunks: 0,
    bytes: 0,
    writing: 0,
    writingMax: 0,
    begun: 0,
    givenUp: 0,
    disposed: 0,
    hold: null,
    head: () => head,
    ask: async () => ({ head, staged: [], generation: head?.generation ?? null, owed: null }),
    begin: async (header) => {
      intake.begun += 1;
      return writerOf(intake, header, (point) => {
        head = point;
      });
    },
    stage: async () => {
      throw new Fault("ABORTED", "nothing is staged here");
    },
    confirmCurrent: async () => {},
    owedSince: () => null,
    [Symbol.asyncDispose]: async () => {
      intake.disposed += 1;
    },
  };
  return intake;
}

function writerOf(
  intake: FakeIntake,
  header: PointHeader,
  onSealed: (point: Point) => void,
): PointWriter {
  let isSealed = false;
  const count = async (lengthBytes: number): Promise<void> => {
    intake.writing += 1;
    intake.writingMax = Math.max(intake.writingMax, intake.writing);
    await intake.hold;
    intake.writing -= 1;
    intake.chunks += 1;
    intake.bytes += lengthBytes;
  };
  return {
    write: (_disk, _offsetBytes, data) => count(data.length),
    zero: async () => {},
    writeStored: (_disk, chunk) => count(chunk.lengthBytes),
    adopt: async () => {},
    seal: async ({ dirtyBytes, readBytes, contentRoot, clock }) => {
      isSealed = true;
      const point: Point = {
        ...header,
        contentRoot: contentRoot ?? ("0".repeat(64) as HashHex),
        sealedAtMs: 5,
        cost: { dirtyBytes, readBytes, dataBytes: intake.bytes, zeroBytes: 0, storedBytes: 0 },
        verifiedAtMs: null,
        drilledAtMs: null,
        currentAtMs: null,
        clock: clock ?? null,
      };
      onSealed(point);
      return point;
    },
    [Symbol.asyncDispose]: async () => {
      if (!isSealed) intake.givenUp += 1;
    },
  };
}

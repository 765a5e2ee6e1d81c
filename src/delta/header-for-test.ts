import type { DiskIdentity, DiskName, GroupName, MachineName, PointId } from "../core/ids.ts";
import type { PointDisk, PointHeader } from "../core/point.ts";

/** A disk for tests: number `place` gives name and identity. */
export function diskForTest(
  place: number,
  sizeBytes: number,
  previousSizeBytes: number | null = sizeBytes,
): PointDisk {
  return {
    name: `erp/disk${place}` as DiskName,
    identity: idForTest(0xd15c0000 + place) as string as DiskIdentity,
    sizeBytes,
    previousSizeBytes,
  };
}

/** A point's id for tests. */
export function idForTest(number: number): PointId {
  return number.toString(16).padStart(16, "0") as PointId;
}

/** A header for tests: point `sequence`, from the one before. */
export function headerForTest(sequence: number, disks: readonly PointDisk[]): PointHeader {
  return {
    id: idForTest(sequence),
    group: "erp" as GroupName,
    generation: { number: 1, holder: "00000000000000aa" },
    sequence,
    fromSequence: sequence - 1,
    fromPoint: sequence === 1 ? null : idForTest(sequence - 1),
    instant: { lowerMs: 1_000 * sequence, upperMs: 1_000 * sequence + 5, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "Nothing more was asked.",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks,
    machines: [{ name: "erp" as MachineName, platform: "qemu", definition: { cpus: 2 } }],
    notes: [],
  };
}

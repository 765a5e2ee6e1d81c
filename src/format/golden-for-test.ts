import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB, TIB } from "../base/units.ts";
import type { DeltaHeader } from "./delta-header.ts";
import { encodeRecord, type LedgerHead } from "./ledger.ts";
import type { LedgerEntry } from "./ledger-entry.ts";

/** The bytes of a golden file: hex in lines of 32 bytes. */
export function goldenBytes(name: string): Buffer {
  const text = readFileSync(join(import.meta.dirname, "golden", `${name}.hex`), "utf8");
  return Buffer.from(text.replaceAll("\n", ""), "hex");
}

/** The header of the golden deltas: every member has a value that shows how it is written. */
export const goldenHeader: DeltaHeader = {
  id: "0123456789abcdef",
  group: "erp",
  generation: { number: 2, holder: "00ff00ff00ff00ff" },
  sequence: 12,
  fromSequence: 10,
  fromPoint: "fedcba9876543210",
  instant: { lowerMs: 1_795_255_200_000, upperMs: 1_795_255_200_004, clockErrorMs: 3 },
  consistency: {
    asked: "application",
    reached: "crash",
    reason: 'The agent said "no".\n',
    isGroupConsistent: true,
    skewMs: 0,
  },
  disks: [
    {
      name: "db/data",
      identity: "00000000000000d1",
      sizeBytes: 4 * TIB,
      previousSizeBytes: 4 * TIB,
    },
    {
      name: "db/wal",
      identity: "00000000000000d2",
      sizeBytes: MIB,
      previousSizeBytes: 2 * MIB,
    },
    { name: "db/new", identity: "00000000000000d3", sizeBytes: 512, previousSizeBytes: null },
  ],
  machines: [{ name: "db", platform: "qemu", definition: { é: [true, null, -1], cpus: 2 } }],
  notes: ["db/wal was cut: 2 MiB → 1 MiB 😀"],
};

const noise = new Uint8Array(1024);
seededPrng(2026).fill(noise);
const text = Buffer.alloc(1536, "0123456789abcdef");

/** What the golden deltas hold, in the order it is written. */
export const goldenContent = [
  { disk: 1, offsetBytes: 512, data: noise, lengthBytes: 1024 },
  { disk: 0, offsetBytes: 3 * TIB + 64 * KIB - 512, data: text, lengthBytes: 1536 },
  { disk: 0, offsetBytes: TIB - 4096, data: null, lengthBytes: 8192 },
  { disk: 1, offsetBytes: MIB, data: null, lengthBytes: MIB },
  { disk: 2, offsetBytes: 0, data: noise.subarray(512), lengthBytes: 512 },
] as const;

/** The golden ledger, written anew. */
export function goldenLedger(): Buffer {
  const hash = (digit: string): string => digit.repeat(64);
  const { machines: _, ...point } = goldenHeader;
  const named = { id: goldenHeader.id, sequence: 12, contentRoot: hash("c") };
  const entries: readonly LedgerEntry[] = [
    { kind: "group-created", body: { group: "erp", vault: "00000000000000bb" } },
    {
      kind: "point-sealed",
      body: {
        point: { ...point, disks: [...point.disks], notes: [...point.notes] },
        machinesHash: hash("a"),
        contentRoot: hash("c"),
        file: "000002-000000000010-000000000012-0123456789abcdef.delta",
        cost: {
          dirtyBytes: 65536,
          readBytes: 65536,
          dataBytes: 3072,
          zeroBytes: 0,
          storedBytes: 9,
        },
      },
    },
    { kind: "points-retired", body: { points: [named], reason: "Retention keeps 1 point." } },
  ];
  let previous: LedgerHead | null = null;
  const parts: Buffer[] = [];
  for (const [place, entry] of entries.entries()) {
    const atMs = 1_795_255_201_000 + place;
    const { bytes, head } = encodeRecord(entry, { atMs, previous });
    parts.push(bytes);
    previous = head;
  }
  return Buffer.concat(parts);
}

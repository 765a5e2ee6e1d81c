import { describe, expect, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import {
  decodeLedger,
  encodeRecord,
  LedgerDecoder,
  type LedgerHead,
  type LedgerRecord,
} from "./ledger.ts";
import type { LedgerEntry } from "./ledger-entry.ts";

const hash = (digit: string): string => digit.repeat(64);
const point = { id: "0000000000000001", sequence: 1, contentRoot: hash("c") };
const facts = {
  id: point.id,
  group: "erp",
  generation: { number: 1, holder: "00000000000000aa" },
  sequence: 1,
  fromSequence: 0,
  fromPoint: null,
  instant: { lowerMs: 10, upperMs: 12, clockErrorMs: null },
  consistency: {
    asked: "crash" as const,
    reached: "crash" as const,
    reason: "Nothing more was asked.",
    isGroupConsistent: true,
    skewMs: 0,
  },
  disks: [
    { name: "erp/data", identity: "00000000000000d1", sizeBytes: 1024, previousSizeBytes: null },
  ],
  notes: ["Émile's first point"],
};
const cost = { dirtyBytes: 1, readBytes: 2, dataBytes: 3, zeroBytes: 4, storedBytes: 5 };
const delta = { point: facts, machinesHash: hash("a"), contentRoot: hash("c"), cost };
const entries: readonly LedgerEntry[] = [
  { kind: "group-created", body: { group: "erp", vault: "00000000000000bb" } },
  {
    kind: "base-adopted",
    body: { disk: "erp/data", identity: "00000000000000d1", sizeBytes: 1024, hashesHash: null },
  },
  { kind: "point-sealed", body: { ...delta, file: "000001-1.delta" } },
  { kind: "point-verified", body: { point } },
  { kind: "point-drilled", body: { point, hasPassed: true, finding: "It answered." } },
  { kind: "retention-lock-set", body: { point, lockedUntilMs: 99 } },
  {
    kind: "deltas-merged",
    body: { ...delta, file: "m.delta", sources: [{ contentRoot: hash("d"), file: "a.delta" }] },
  },
  { kind: "points-retired", body: { points: [point], reason: "Retention keeps 2 points." } },
  { kind: "base-moved", body: { sequence: 1, contentRoots: [hash("c")] } },
  {
    kind: "generation-raised",
    body: { generation: { number: 2, holder: "00000000000000ab" }, reason: "Failover." },
  },
  { kind: "bases-dropped", body: { identities: ["00000000000000d1"], reason: "Disk removed." } },
  {
    kind: "point-sealed",
    body: { ...delta, file: "000001-2.delta", clock: { offsetMs: -20, errorMs: 1 } },
  },
  { kind: "point-current", body: { point, atMs: 77 } },
];

function written(of: readonly LedgerEntry[]): Buffer[] {
  let previous: LedgerHead | null = null;
  return of.map((entry, place): Buffer => {
    const { bytes, head } = encodeRecord(entry, { atMs: 1_000 + place, previous });
    previous = head;
    return bytes;
  });
}

const parts = written(entries);
const whole = Buffer.concat(parts);

function flipped(bytes: Uint8Array, at: number, mask = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = copy[at]! ^ mask;
  return copy;
}

/** Reads as a file is read: from where the decoder wants the next window, a larger one when it could do nothing with it. */
function inWindows(bytes: Uint8Array, stepBytes: number) {
  const decoder = new LedgerDecoder();
  const records: LedgerRecord[] = [];
  let lengthBytes = stepBytes;
  for (;;) {
    const start = decoder.nextBytes;
    const window = bytes.subarray(start, start + lengthBytes);
    const isLast = window.length < lengthBytes;
    records.push(...decoder.decode(Buffer.from(window), isLast));
    if (isLast) return { records, tail: decoder.tail };
    lengthBytes = decoder.nextBytes === start ? lengthBytes + stepBytes : stepBytes;
  }
}

function verdict(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    return { code, message };
  }
}

describe("ledger", () => {
  test("every kind of record reads back, numbered and chained", () => {
    const { records, tail } = decodeLedger(whole);
    expect(tail).toEqual({ state: "clean" });
    expect(records.map((record) => record.entry)).toEqual(entries);
    expect(records.map((record) => record.number)).toEqual(entries.map((_, place) => place));
    expect(records.map((record) => record.atMs)).toEqual(entries.map((_, place) => 1_000 + place));
    const last = records.at(-1) as LedgerRecord;
    expect(last.positionBytes + last.lengthBytes).toBe(whole.length);
    const { head } = encodeRecord(entries.at(-1)!, {
      atMs: 1_000 + last.number,
      previous: records.at(-2)!,
    });
    expect(head).toEqual({ number: last.number, hash: last.hash });
  });

  test("an empty file is a clean ledger without records", () => {
    expect(decodeLedger(Buffer.alloc(0))).toEqual({ records: [], tail: { state: "clean" } });
  });

  test("an append cut anywhere is a torn tail, and all before it is kept", () => {
    const before = whole.length - parts.at(-1)!.length;
    for (let length = before + 1; length < whole.length; length += 1) {
      const { records, tail } = decodeLedger(whole.subarray(0, length));
      expect(records.length).toBe(entries.length - 1);
      expect(tail).toEqual({ state: "torn", positionBytes: before, reason: "short" });
    }
  });

  test("a tail of zeroes or noise after a power cut is torn, not corrupt", () => {
    const noise = new Uint8Array(5_000);
    seededPrng(4).fill(noise);
    for (const rest of [new Uint8Array(5_000), noise]) {
      const { records, tail } = decodeLedger(Buffer.concat([whole, rest]));
      expect(records.length).toBe(entries.length);
      expect(tail).toEqual({ state: "torn", positionBytes: whole.length, reason: "damaged" });
    }
  });

  test("a bit flipped anywhere before the last record is found as corruption", () => {
    const lastStart = whole.length - parts.at(-1)!.length;
    for (let at = 0; at < lastStart; at += 1) {
      expect(() => decodeLedger(flipped(whole, at, 2 ** (at % 8)))).toThrowError(
        expect.objectContaining({ code: "LEDGER_CORRUPT" }),
      );
    }
  });

  test("a bit flipped in the last record is never taken for a record", () => {
    const lastStart = whole.length - parts.at(-1)!.length;
    for (let at = lastStart; at < whole.length; at += 1) {
      const { records, tail } = decodeLedger(flipped(whole, at, 2 ** (at % 8)));
      expect(records.length).toBe(entries.length - 1);
      expect(tail.state).toBe("torn");
    }
  });

  test("a tail made to be slow to search is corrupt, soon", () => {
    const front = Buffer.alloc(32);
    front.write("AFTL", 0, "latin1");
    front.writeUInt32LE(1024 * 1024, 8);
    const slow = Buffer.concat(new Array(256 * 1024).fill(front));
    expect(() => decodeLedger(Buffer.concat([whole, slow]))).toThrowError(
      expect.objectContaining({ code: "LEDGER_CORRUPT" }),
    );
  });

  test.each([1, 7, 1_000])(
    "windows that grow by %i bytes give what the whole gives",
    (stepBytes) => {
      const middle = whole.length - parts.at(-1)!.length - 40;
      const files = [
        whole,
        whole.subarray(0, -5),
        Buffer.concat([whole, Buffer.alloc(99, "AFTL")]),
      ];
      for (const file of [...files, flipped(whole, middle), flipped(whole, whole.length - 9)]) {
        expect(verdict(() => inWindows(file, stepBytes))).toEqual(
          verdict(() => decodeLedger(file)),
        );
      }
    },
  );

  test("a record left out, doubled, swapped or from another ledger breaks the chain", () => {
    const foreign = written([
      { kind: "group-created", body: { group: "crm", vault: "00000000000000bb" } },
      ...entries.slice(1),
    ]);
    const { hash: before } = decodeLedger(parts[0]!).records[0]!;
    const skipping = { atMs: 1, previous: { number: 1, hash: before } };
    const broken = [
      [parts[0]!, encodeRecord(entries[1]!, skipping).bytes],
      parts.toSpliced(3, 1),
      parts.toSpliced(3, 0, parts[3]!),
      [...parts.slice(0, 3), parts[4]!, parts[3]!, ...parts.slice(5)],
      parts.with(3, foreign[3]!),
      parts.slice(1),
    ];
    for (const list of broken) {
      expect(() => decodeLedger(Buffer.concat(list))).toThrowError(
        expect.objectContaining({ code: "LEDGER_CORRUPT" }),
      );
    }
  });

  test("a body no reader would take is refused before it is written", () => {
    const wrong = { kind: "base-moved" as const, body: { sequence: -1, contentRoots: [] } };
    expect(() =>
      encodeRecord(wrong, { atMs: 1, previous: { number: 0, hash: hash("0") } }),
    ).toThrow(/a ledger record/);
    const climbing = { kind: "point-sealed", body: { ...delta, file: "../escape" } } as const;
    expect(() =>
      encodeRecord(climbing, { atMs: 1, previous: { number: 0, hash: hash("0") } }),
    ).toThrow(/file/);
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Extent, Run } from "../../core/extent.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { classify, endOf, joinEqual, type Span, spansOf, wholeBlocks } from "./dirty-extents.ts";

const sector = 512;
const diskBlocksMax = 40;

/** Runs in order that do not overlap, cut out of a disk by alternating lengths. */
const runsOf = (unitBytes: number) =>
  fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 6 })), { maxLength: 12 }).map((pairs) => {
    const runs: Run[] = [];
    let at = 0;
    for (const [gap, length] of pairs) {
      runs.push({ offsetBytes: at + gap * unitBytes, lengthBytes: length * unitBytes });
      at = endOf(runs.at(-1)!);
    }
    return runs;
  });

async function listed<Item>(items: AsyncIterable<Item>): Promise<readonly Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function* each<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items;
}

describe("whole blocks", () => {
  test("cover each block that a run touches, and no other, in order and joined", async () => {
    await fc.assert(
      fc.asyncProperty(runsOf(32 * sector), fc.nat(127), async (runs, shortSectors) => {
        const endBytes = runs.at(-1) ? endOf(runs.at(-1)!) : 0;
        const sizeBytes = Math.max(endBytes, sector) + shortSectors * sector;
        const found = await listed(wholeBlocks(runs, sizeBytes));
        const touched = new Set<number>();
        for (const run of runs) {
          const first = Math.floor(run.offsetBytes / blockSizeBytes);
          for (let block = first; block * blockSizeBytes < endOf(run); block += 1) {
            touched.add(block);
          }
        }
        const covered = new Set<number>();
        let lastEnd = -1;
        for (const run of found) {
          expect(run.offsetBytes).toBeGreaterThan(lastEnd);
          expect(run.offsetBytes % blockSizeBytes).toBe(0);
          expect(endOf(run) % blockSizeBytes === 0 || endOf(run) === sizeBytes).toBe(true);
          for (let at = run.offsetBytes; at < endOf(run); at += blockSizeBytes) {
            covered.add(at / blockSizeBytes);
          }
          lastEnd = endOf(run);
        }
        expect(covered).toEqual(touched);
      }),
    );
  });
});

describe("spans", () => {
  test("hold every run once, begin and end with one, and do not reach over a great gap", async () => {
    const far = 1000 * blockSizeBytes;
    const runs = [
      { offsetBytes: 0, lengthBytes: blockSizeBytes },
      { offsetBytes: 4 * blockSizeBytes, lengthBytes: blockSizeBytes },
      { offsetBytes: far, lengthBytes: blockSizeBytes },
    ];
    expect(await listed(spansOf(each(runs)))).toEqual([
      { offsetBytes: 0, lengthBytes: 5 * blockSizeBytes, runs: runs.slice(0, 2) },
      { offsetBytes: far, lengthBytes: blockSizeBytes, runs: runs.slice(2) },
    ]);
  });

  test("cut a run of a terabyte so that no answer about it is without bound", async () => {
    const whole = { offsetBytes: blockSizeBytes, lengthBytes: 2 ** 40 };
    const spans = await listed(spansOf(each([whole])));
    expect(spans.length).toBeGreaterThan(1000);
    expect(spans.every((span) => span.lengthBytes <= 2 ** 30)).toBe(true);
    let at = whole.offsetBytes;
    for (const span of spans) {
      expect(span.offsetBytes).toBe(at);
      at = endOf(span);
    }
    expect(at).toBe(endOf(whole));
  });
});

describe("classifying", () => {
  /** Allocation of the whole disk in sectors, true for data. */
  const allocationOf = (sectors: readonly boolean[], span: Span): readonly Extent[] => {
    const extents: Extent[] = [];
    for (let at = span.offsetBytes; at < endOf(span); at += sector) {
      const state = sectors[at / sector] ? "data" : "zero";
      const last = extents.at(-1);
      if (last?.state === state) {
        extents[extents.length - 1] = { ...last, lengthBytes: last.lengthBytes + sector };
      } else extents.push({ offsetBytes: at, lengthBytes: sector, state });
    }
    return extents;
  };

  test("calls a block zero exactly when all of it is, for dirty blocks only", async () => {
    const pieces = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 300 })), {
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(runsOf(blockSizeBytes), pieces, async (runs, lengths) => {
        const sectors = lengths.flatMap(([isData, length]) => Array(length).fill(isData));
        const sizeBytes = diskBlocksMax * 4 * blockSizeBytes;
        const spans = await listed(spansOf(wholeBlocks(runs, sizeBytes)));
        const found = spans.flatMap((span) => classify(span, allocationOf(sectors, span)));
        const states = new Map<number, string>();
        for (const extent of found) {
          for (let at = extent.offsetBytes; at < endOf(extent); at += blockSizeBytes) {
            expect(states.has(at)).toBe(false);
            states.set(at, extent.state);
          }
        }
        const expected = new Map<number, string>();
        for (const run of runs) {
          for (let at = run.offsetBytes; at < endOf(run); at += blockSizeBytes) {
            const inBlock = sectors.slice(at / sector, (at + blockSizeBytes) / sector);
            expected.set(at, inBlock.some(Boolean) ? "data" : "zero");
          }
        }
        expect(states).toEqual(expected);
      }),
    );
  });

  test("takes for data what the server did not describe", () => {
    const run = { offsetBytes: 0, lengthBytes: 2 * blockSizeBytes };
    expect(classify({ ...run, runs: [run] }, [])).toEqual([{ ...run, state: "data" }]);
  });

  test("keeps a short last block that is zero", () => {
    const run = { offsetBytes: blockSizeBytes, lengthBytes: sector };
    const zero = { ...run, state: "zero" as const };
    expect(classify({ ...run, runs: [run] }, [zero])).toEqual([zero]);
  });
});

test("equal neighbours are joined and others are not", async () => {
  const extent = (block: number, state: "data" | "zero"): Extent => ({
    offsetBytes: block * blockSizeBytes,
    lengthBytes: blockSizeBytes,
    state,
  });
  const joined = joinEqual(
    each([extent(0, "data"), extent(1, "data"), extent(2, "zero"), extent(4, "zero")]),
  );
  expect(await listed(joined)).toEqual([
    { ...extent(0, "data"), lengthBytes: 2 * blockSizeBytes },
    extent(2, "zero"),
    extent(4, "zero"),
  ]);
});

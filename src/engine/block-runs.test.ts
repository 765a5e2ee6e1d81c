import fc from "fast-check";
import { expect, test } from "vitest";
import type { Extent } from "../core/extent.ts";
import { blockSizeBytes, sectorSizeBytes } from "../core/limits.ts";
import { endOf, inWholeBlocks, requestRuns, zeroAndDataRuns } from "./block-runs.ts";

const bounds = { windowBytes: 16 * blockSizeBytes, zeroRunBytesMax: 64 * blockSizeBytes };

async function* each(extents: readonly Extent[]): AsyncGenerator<Extent> {
  yield* extents;
}

/** Extents without gaps from 0, any number of sectors each. */
const gapless = fc
  .array(fc.record({ sectors: fc.integer({ min: 1, max: 700 }), isData: fc.boolean() }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((parts) => {
    let at = 0;
    return parts.map(({ sectors, isData }): Extent => {
      const offsetBytes = at;
      const lengthBytes = sectors * sectorSizeBytes;
      at += lengthBytes;
      return { offsetBytes, lengthBytes, state: isData ? "data" : "zero" };
    });
  });

test("in whole blocks: nothing is missing, a block with any data is data, one without is zero", async () => {
  await fc.assert(
    fc.asyncProperty(gapless, async (extents) => {
      const sizeBytes = endOf(extents.at(-1)!);
      const blocks = await Array.fromAsync(inWholeBlocks(each(extents), sizeBytes));
      let at = 0;
      for (const run of blocks) {
        expect(run.offsetBytes).toBe(at);
        at = endOf(run);
        expect(at % blockSizeBytes === 0 || at === sizeBytes).toBe(true);
        for (let block = run.offsetBytes; block < at; block += blockSizeBytes) {
          const isData = extents.some(
            (extent) =>
              extent.state === "data" &&
              extent.offsetBytes < Math.min(at, block + blockSizeBytes) &&
              endOf(extent) > block,
          );
          expect(run.state).toBe(isData ? "data" : "zero");
        }
      }
      expect(at).toBe(sizeBytes);
    }),
  );
});

test("requests hold the same bytes as the extents, cut at their bounds", async () => {
  await fc.assert(
    fc.asyncProperty(gapless, async (extents) => {
      const runs = await Array.fromAsync(requestRuns(each(extents), bounds));
      const bytesOf = (state: string, list: readonly Extent[]) =>
        list.filter((one) => one.state === state).reduce((sum, one) => sum + one.lengthBytes, 0);
      expect(bytesOf("data", runs)).toBe(bytesOf("data", extents));
      expect(bytesOf("zero", runs)).toBe(bytesOf("zero", extents));
      for (const run of runs) {
        const limit = run.state === "data" ? bounds.windowBytes : bounds.zeroRunBytesMax;
        expect(Math.floor(run.offsetBytes / limit)).toBe(Math.floor((endOf(run) - 1) / limit));
      }
    }),
  );
});

test("zero blocks inside read data are told apart, a short last block too", () => {
  const data = new Uint8Array(3 * blockSizeBytes + 512);
  data[blockSizeBytes] = 1;
  expect(zeroAndDataRuns(0, data)).toEqual([
    { offsetBytes: 0, lengthBytes: blockSizeBytes, state: "zero" },
    { offsetBytes: blockSizeBytes, lengthBytes: blockSizeBytes, state: "data" },
    { offsetBytes: 2 * blockSizeBytes, lengthBytes: blockSizeBytes + 512, state: "zero" },
  ]);
});

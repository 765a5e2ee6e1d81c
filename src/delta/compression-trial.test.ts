import { expect, test } from "vitest";
import { CompressionTrial } from "./compression-trial.ts";

test("data that does not compress is tried once in a while, data that does again each time", () => {
  const trial = new CompressionTrial();
  const triedOf = (chunks: number, isSmaller: boolean) => {
    let tried = 0;
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      if (!trial.shouldTry()) continue;
      tried += 1;
      trial.tell({ isSmaller });
    }
    return tried;
  };
  expect(triedOf(16, false)).toBe(16);
  expect(triedOf(800, false)).toBe(100);
  expect(triedOf(8, true)).toBe(1);
  expect(triedOf(100, true)).toBe(100);
});

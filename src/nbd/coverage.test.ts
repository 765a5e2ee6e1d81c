import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import { Coverage } from "./coverage.ts";

test("coverage takes every byte once, like a set of bytes", () => {
  const run = fc.record({ start: fc.nat(30), length: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(fc.array(run), (runs) => {
      const coverage = new Coverage();
      const bytes = new Set<number>();
      for (const { start, length } of runs) {
        const added = Array.from({ length }, (_, index) => start + index);
        const isNew = added.every((byte) => !bytes.has(byte));
        assert.equal(coverage.add(start, start + length), isNew);
        if (isNew) for (const byte of added) bytes.add(byte);
      }
      for (let total = 1; total < 40; total += 1) {
        const isWhole = bytes.size === total && Math.max(...bytes) === total - 1;
        assert.equal(coverage.isWhole(total), isWhole);
      }
    }),
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { RunSet } from "./run-set.ts";

test("gaps are what no run covers, whatever the order of adding", () => {
  const cells = fc.shuffledSubarray(Array.from({ length: 40 }, (_, cell) => cell));
  fc.assert(
    fc.property(cells, fc.nat(40), fc.nat(40), (covered, a, b) => {
      const set = new RunSet();
      for (const cell of covered) set.add(cell * 512, 512);
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const open: number[] = [];
      for (const gap of set.gaps(from * 512, to * 512)) {
        for (let at = gap.offsetBytes; at < gap.endBytes; at += 512) open.push(at / 512);
      }
      const wanted = Array.from({ length: to - from }, (_, step) => from + step);
      expect(open).toEqual(wanted.filter((cell) => !covered.includes(cell)));
    }),
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { lineSplitter } from "./line-splitter.ts";

test("lines come out whole however the bytes were cut", () => {
  const line = fc.string({ unit: fc.constantFrom("a", "ü", "{", '"', " ") });
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(7), { minLength: 1 }), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(""));
      const splitter = lineSplitter(1000);
      const found: string[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const length = cuts[turn % cuts.length]! + 1;
        found.push(...splitter.push(bytes.subarray(at, at + length)));
        at += length;
      }
      expect(found).toEqual(lines);
    }),
  );
});

test("a line of the greatest length passes and one byte more does not, in one piece or in many", () => {
  expect(lineSplitter(4).push(Buffer.from("abcd\r\n".replace("\r", "")))).toEqual(["abcd"]);
  expect(() => lineSplitter(4).push(Buffer.from("abcde\n"))).toThrow(RangeError);
  const splitter = lineSplitter(4);
  splitter.push(Buffer.from("abcd"));
  expect(() => splitter.push(Buffer.from("e"))).toThrow(RangeError);
});

test("a carriage return before the line feed is not part of the line", () => {
  expect(lineSplitter(10).push(Buffer.from("a\r\n\r\nb\n"))).toEqual(["a", "", "b"]);
});

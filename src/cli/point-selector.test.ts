import { describe, expect, test } from "vitest";
import type { GroupName, PointId } from "../core/ids.ts";
import { type SelectablePoint, selectPoint } from "./point-selector.ts";

const group = "erp" as GroupName;
const point = (sequence: number, id: string, at: string): SelectablePoint => ({
  id: id as PointId,
  sequence,
  instant: { lowerMs: Date.parse(at), upperMs: Date.parse(at) + 5, clockErrorMs: null },
});
const points = [
  point(10, "aaaa000000000001", "2026-11-21T10:00:00.000Z"),
  point(12, "aaaa100000000002", "2026-11-21T10:00:02.000Z"),
  point(13, "1234567890123456", "2026-11-21T10:00:04.000Z"),
];
const sequenceOf = (selector: string) => selectPoint(points, selector, group).sequence;
const codeOf = (selector: string, among = points) => {
  try {
    selectPoint(among, selector, group);
    return null;
  } catch (error) {
    return error;
  }
};

test.each([
  ["newest", 13],
  ["oldest", 10],
  ["#12", 12],
  ["12", 12],
  ["aaaa0", 10],
  ["aaaa100000000002", 12],
  ["12345678", 13],
  ["2026-11-21T10:00:02.005Z", 12],
  ["2026-11-21T10:00:02.004Z", 10],
  ["2026-11-21 10:00:03", 12],
  ["2026-11-21 10:00:02.005 UTC", 12],
  ["2026-11-21T11:00:03+01:00", 12],
  ["2026-11-22", 13],
])("%s is point #%i", (selector, sequence) => {
  expect(sequenceOf(selector)).toBe(sequence);
});

describe("no point", () => {
  test("a sequence, an id or a time that is not there says what there is", () => {
    for (const selector of ["#11", "99", "bbbb", "2026-11-21T09:00:00Z"]) {
      expect(codeOf(selector)).toMatchObject({ code: "POINT_UNKNOWN" });
    }
    expect(codeOf("#11")).toMatchObject({ message: expect.stringContaining("#10 (2026-11-21T") });
  });
  test("a group without points", () => {
    expect(codeOf("newest", [])).toMatchObject({
      code: "POINT_UNKNOWN",
      message: "erp has no points yet",
    });
  });
  test("two ids that begin so", () => {
    expect(codeOf("aaaa")).toMatchObject({
      code: "USAGE",
      message: expect.stringMatching(/^2 points/),
    });
  });
  test("text that means nothing", () => {
    for (const selector of ["", "latest", "#", "-1", "aaa", "2026-13-45", "AAAA0"]) {
      expect(codeOf(selector), selector).toMatchObject({ code: "USAGE" });
    }
  });
});

test("any instant of the span in which nothing changed names its point", () => {
  const [first, second] = points;
  const spans = [{ ...first!, currentAtMs: Date.parse("2026-11-21T10:00:01.900Z") }, second!];
  for (const at of ["10:00:00.005", "10:00:01", "10:00:01.900"]) {
    expect(selectPoint(spans, `2026-11-21T${at}Z`, group).sequence, at).toBe(10);
  }
});

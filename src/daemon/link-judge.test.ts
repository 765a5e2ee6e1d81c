import { expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { type JudgedLink, judgeGroupLink } from "./link-judge.ts";

const fine: JudgedLink = {
  health: { isUp: true, roundTripMs: 20, bytesPerSecond: 100 * MIB },
  capBytesPerSecond: null,
  targetRpoSeconds: 10,
  uniqueBytesIn: (seconds) => seconds * 2 * MIB,
  sentPerByte: 1,
  fixedSeconds: 0.1,
};
const health = (health: Partial<JudgedLink["health"]>) => ({
  ...fine,
  health: { ...fine.health, ...health },
});

test("a link that is enough, or of which too little is known, is no complaint", () => {
  expect(judgeGroupLink(fine)).toBeNull();
  expect(judgeGroupLink(health({ bytesPerSecond: null }))).toBeNull();
  expect(judgeGroupLink(health({ isUp: false, bytesPerSecond: 1 }))).toBeNull();
  expect(judgeGroupLink(health({ roundTripMs: null }))).toBeNull();
  expect(judgeGroupLink({ ...health({ bytesPerSecond: 1 }), targetRpoSeconds: null })).toBeNull();
});

test("a rate that bursts pile up on is an alarm, whether it was measured or is a cap", () => {
  const slow = judgeGroupLink(health({ bytesPerSecond: MIB }));
  expect(slow).toMatchObject({ severity: "alarm", fault: { code: "LINK_TOO_SLOW" } });
  expect(slow?.fault.message).toMatch(/the link has 1\.00 MiB\/s .* needs .*\/s/);
  expect(judgeGroupLink({ ...fine, capBytesPerSecond: MIB })).toMatchObject({ severity: "alarm" });
});

test("a round trip that is too long is told before a rate is known", () => {
  const far = judgeGroupLink(health({ bytesPerSecond: null, roundTripMs: 900 }));
  expect(far?.fault.message).toMatch(/^the link's round trip is 900 ms, a target of 10\.0 s needs/);
});

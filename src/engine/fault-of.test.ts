import { expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { faultOf } from "./fault-of.ts";

test("the fault of an error is what failed first, not what failed in cleaning up", () => {
  const first = new Fault("STORAGE_FULL", "first");
  const second = new Fault("QMP_CLOSED", "second");
  expect(faultOf(new SuppressedError(second, first))).toBe(first);
  expect(faultOf(new SuppressedError(new Error("x"), new SuppressedError(second, first)))).toBe(
    first,
  );
  expect(faultOf(new SuppressedError(second, new Error("bug")))).toBeNull();
  expect(faultOf(new Error("outer", { cause: first }))).toBe(first);
  expect(faultOf(new Error("bug"))).toBeNull();
});

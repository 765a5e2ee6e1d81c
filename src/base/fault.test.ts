import { expect, it } from "vitest";
import { Fault, faultWithin, isFault } from "./fault.ts";
import { faultTable } from "./fault-table.ts";

it("takes retry and next step from the table", () => {
  const fault = new Fault("STORAGE_FULL", "no room", { path: "/v" });
  expect(fault.retry).toBe(true);
  expect(fault.nextStep).toBe(faultTable.STORAGE_FULL.nextStep);
});

it("tells faults from other errors, and codes from each other", () => {
  expect(isFault(new Error("x"))).toBe(false);
  expect(isFault(new Fault("ABORTED", "x"))).toBe(true);
  expect(isFault(new Fault("ABORTED", "x"), "TIMEOUT")).toBe(false);
  expect(isFault(new Fault("ABORTED", "x"), "TIMEOUT", "ABORTED")).toBe(true);
});

it("finds the fault beneath wrapping errors", () => {
  const fault = new Fault("NBD_CLOSED", "gone");
  const wrapped = new Error("outer", { cause: new Error("inner", { cause: fault }) });
  expect(faultWithin(wrapped)).toBe(fault);
  expect(faultWithin(new Error("none"))).toBeNull();
});

it("has a sentence for cause and next step of each code", () => {
  for (const [code, entry] of Object.entries(faultTable)) {
    expect(entry.cause, code).toMatch(/^[A-Z].*\.$/);
    expect(entry.nextStep, code).toMatch(/[.]$/);
  }
});

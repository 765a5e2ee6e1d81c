import { expect, test } from "vitest";
import { countTests, finalLine } from "./test-counts.ts";

const report = (passed: number, failed: number, pending: number) =>
  JSON.stringify({
    numPassedTests: passed,
    numFailedTests: failed,
    numPendingTests: pending,
    numTodoTests: 0,
    numFailedTestSuites: 0,
  });

test("the last line sums what the reports say", () => {
  const counts = [countTests(report(3, 0, 1), 0), countTests(report(4, 2, 0), 1)];
  expect(finalLine(counts)).toBe("7 passed, 2 failed, 1 skipped");
  expect(finalLine([countTests(report(3, 0, 0), 0)])).toBe("3 passed, 0 failed");
});

test("a run that failed without a failed test, or left no report, counts as a failure", () => {
  expect(countTests(report(3, 0, 0), 1).failed).toBe(1);
  expect(countTests(null, 0).failed).toBe(1);
  expect(countTests("{", 0).failed).toBe(1);
});

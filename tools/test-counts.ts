import { z } from "zod";

/** How many tests ended how. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const reportSchema = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  numFailedTestSuites: z.int(),
});

/**
 * Counts from the text of vitest's JSON report, null when there is none. A run that failed for another reason than a
 * test (a file that did not load, a crash) counts as one failure, so that the line never says less than the exit code.
 */
export function countTests(reportText: string | null, exitCode: number): TestCounts {
  const parsed = reportSchema.safeParse(reportText === null ? null : parseJson(reportText));
  if (!parsed.success) return { passed: 0, failed: 1, skipped: 0 };
  const report = parsed.data;
  const failed = report.numFailedTests;
  return {
    passed: report.numPassedTests,
    failed: exitCode !== 0 && failed === 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** "N passed, N failed[, N skipped]": the last line of a run, read by people and by CI. */
export function finalLine(counts: readonly TestCounts[]): string {
  const sum = (key: keyof TestCounts) => counts.reduce((total, one) => total + one[key], 0);
  const skipped = sum("skipped");
  const ending = skipped > 0 ? `, ${skipped} skipped` : "";
  return `${sum("passed")} passed, ${sum("failed")} failed${ending}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

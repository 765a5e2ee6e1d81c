import { z } from "zod";
import type { VerifyReport } from "../journal/verify-group.ts";

const pointSchema = z.strictObject({ id: z.string(), sequence: z.int() });

/** What verify and scrub tell, as it crosses the socket and stands in --json. */
export const checkResultSchema = z.strictObject({
  checkedBytes: z.int(),
  findings: z.array(
    z.strictObject({
      path: z.string(),
      code: z.string(),
      problems: z.array(z.string()),
      pointsLost: z.array(z.string()),
      hint: z.string(),
    }),
  ),
  pointsGood: z.array(pointSchema),
  pointsLost: z.array(pointSchema),
});

/** The result of verify or scrub. */
export type CheckResult = z.output<typeof checkResultSchema>;

/** A report as plain JSON. */
export function checkResultOf(report: VerifyReport): CheckResult {
  const short = ({ id, sequence }: { id: string; sequence: number }) => ({ id, sequence });
  return {
    checkedBytes: report.checkedBytes,
    findings: report.findings.map((finding) => ({
      ...finding,
      problems: [...finding.problems],
      pointsLost: [...finding.pointsLost],
    })),
    pointsGood: report.pointsGood.map(short),
    pointsLost: report.pointsLost.map(short),
  };
}

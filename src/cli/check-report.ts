import { Fault } from "../base/fault.ts";
import { formatBytes } from "../base/units.ts";
import type { CheckResult } from "../control/check-result.ts";
import type { GroupName } from "../core/ids.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";

/** Longer lists of points are cut for people; --json has them all. */
const pointsShownMax = 8;

/** Prints what verify or scrub found. CHECK_FAILED when it found something. */
export function printCheck(
  context: CommandContext,
  options: CommonOptions,
  group: GroupName,
  result: CheckResult,
): void {
  const ok = result.findings.length === 0;
  printResult(context, options, { json: { group, ok, ...result }, text: describe(group, result) });
  if (ok) return;
  const { findings, pointsLost, pointsGood } = result;
  const message = `${group}: ${findings.length} damaged files, ${pointsLost.length} points lost, ${pointsGood.length} still good`;
  throw new Fault("CHECK_FAILED", message, {
    group,
    damagedFiles: findings.length,
    pointsLost: pointsLost.length,
    pointsGood: pointsGood.length,
  });
}

function describe(group: GroupName, result: CheckResult): string {
  const { findings, pointsGood, pointsLost, checkedBytes } = result;
  const head = `Hashed ${formatBytes(checkedBytes)} of ${group}: ${pointsGood.length} points good, ${pointsLost.length} lost.`;
  const sequenceOf = new Map(pointsLost.map(({ id, sequence }) => [id, sequence]));
  const lines = findings.flatMap((finding) => [
    `${finding.path}: ${finding.code}`,
    ...finding.problems.slice(0, 3).map((problem) => `  ${problem}`),
    `  points lost: ${listed(finding.pointsLost.map((id) => `#${sequenceOf.get(id) ?? id}`))}`,
    `  ${finding.hint}`,
  ]);
  const good =
    findings.length === 0 ? [] : [`Points still good: ${listed(sequencesOf(pointsGood))}`];
  return [head, ...lines, ...good].join("\n");
}

function sequencesOf(points: CheckResult["pointsGood"]): readonly string[] {
  return points.map(({ sequence }) => `#${sequence}`);
}

function listed(words: readonly string[]): string {
  if (words.length === 0) return "none";
  if (words.length <= pointsShownMax) return words.join(", ");
  return `${words[0]} to ${words.at(-1)} (${words.length})`;
}

import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import type { ReplicationSummary } from "./up.ts";

/** Tells how each group ended; the first fault among them is the command's. */
export function printSummary(
  context: CommandContext,
  options: CommonOptions,
  { groups }: ReplicationSummary,
): void {
  const json = {
    groups: groups.map(({ fault, ...group }) => ({
      ...group,
      fault: fault === null ? null : { code: fault.code, message: fault.message },
    })),
  };
  const text = groups.map(({ name, points }) => `${name}: ${points} points sealed.`).join("\n");
  printResult(context, options, { json, text });
  const failed = groups.find((group) => group.fault !== null);
  if (failed?.fault) throw failed.fault;
}

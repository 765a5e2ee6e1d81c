import { isDeepStrictEqual } from "node:util";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";

/** Keys that a running replicator was built from; everything else applies as soon as it is read again. */
const builtFrom = ["vault", "state", "scratch", "spool", "metrics"] as const;

/** Which changed keys only a restart brings into force. */
export function restartNeeds(before: Config, after: Config): readonly string[] {
  const needs: string[] = builtFrom.filter((key) => !isDeepStrictEqual(before[key], after[key]));
  for (const key of ["connections", "clockOffsetMaxSeconds"] as const) {
    if (before.link[key] !== after.link[key]) needs.push(`link.${key}`);
  }
  const groups = new Map(before.groups.map((group) => [group.name, group]));
  for (const group of after.groups) {
    const old = groups.get(group.name);
    groups.delete(group.name);
    if (old === undefined) needs.push(`groups: ${group.name} is new`);
    else if (!isDeepStrictEqual(machinesOf(old), machinesOf(group))) {
      needs.push(`groups: ${group.name}.machines`);
    }
  }
  return [...needs, ...[...groups.keys()].map((name) => `groups: ${name} is gone`)];
}

/** Machines without what may change while they are replicated. */
function machinesOf({ machines }: ConfigGroup) {
  return machines.map(({ compression: _compression, ...machine }) => machine);
}

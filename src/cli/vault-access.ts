import type { GroupName } from "../core/ids.ts";
import type { View } from "../core/journal.ts";
import type { Point } from "../core/point.ts";
import type { GroupReader } from "../journal/group.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { absolutePath, groupArgument } from "./arguments.ts";
import type { CommandContext } from "./command-context.ts";
import { selectPoint } from "./point-selector.ts";

/** Opens a vault for reading, beside whoever writes to it. */
export async function readVault(context: CommandContext, argument: string): Promise<Vault> {
  const { files, locks, clock, prng } = context;
  const directory = absolutePath(argument);
  return openVault({ files, locks, clock, prng, directory, mode: "read" });
}

/** A group of a vault as reading verbs see it. */
export interface GroupAccess {
  readonly vault: Vault;
  readonly group: GroupName;
  readonly reader: GroupReader;
}

/** Opens a group for reading by what a person typed. */
export async function readGroup(
  context: CommandContext,
  vaultArgument: string,
  groupName: string,
): Promise<GroupAccess> {
  const group = groupArgument(groupName);
  const vault = await readVault(context, vaultArgument);
  return { vault, group, reader: await vault.reader(group) };
}

/** Opens the point that a person named; pinned until disposed. */
export async function openPoint(access: GroupAccess, selector: string): Promise<View> {
  const { reader, group } = access;
  return reader.open(selectPoint(reader.points(), selector, group).id);
}

/** A point in one phrase: "erp #12 (2026-11-21 09:44:31.250 UTC)". */
export function describePoint(point: Pick<Point, "group" | "sequence" | "instant">): string {
  const instant = new Date(point.instant.lowerMs).toISOString().replace("T", " ").slice(0, 19);
  return `${point.group} #${point.sequence} (${instant} UTC)`;
}

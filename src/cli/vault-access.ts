import { isFault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import type { View } from "../core/journal.ts";
import type { Point } from "../core/point.ts";
import type { GroupReader } from "../journal/group.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { absolutePath, groupArgument } from "./arguments.ts";
import type { CommandContext } from "./command-context.ts";
import { selectPoint } from "./point-selector.ts";

const openAttemptsMax = 5;

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

/**
 * Opens the point that a person named; pinned until disposed. "oldest" may be retired between its choice and its pin: then the
 * next oldest is meant. POINT_UNKNOWN, POINT_RETIRED.
 */
export async function openPoint(access: GroupAccess, selector: string): Promise<View> {
  const { reader, group } = access;
  for (let attempt = 1; ; attempt += 1) {
    const chosen = selectPoint(reader.points(), selector, group);
    try {
      return await reader.open(chosen.id);
    } catch (error) {
      const isMeantAnew = selector === "oldest" && isFault(error, "POINT_RETIRED");
      if (!isMeantAnew || attempt >= openAttemptsMax) throw error;
      await reader.refresh();
    }
  }
}

/** A point in one phrase: "erp #12 (2026-11-21 09:44:31.250 UTC)". */
export function describePoint(point: Pick<Point, "group" | "sequence" | "instant">): string {
  const instant = new Date(point.instant.lowerMs).toISOString().replace("T", " ").slice(0, 19);
  return `${point.group} #${point.sequence} (${instant} UTC)`;
}

import { join } from "node:path";
import type { FileSystem } from "../base/file-system.ts";
import type { Alarm, GroupTelemetry } from "../control/telemetry.ts";
import type { Custody } from "../control/vault-state.ts";
import type { GroupName } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import type { Vault } from "../journal/vault.ts";
import { groupLayout } from "../journal/vault-layout.ts";
import { type AskedState, askForState } from "./ask-state.ts";
import type { CommandContext } from "./command-context.ts";
import { readVault } from "./vault-access.ts";

const silentTrouble = "the process that writes to the vault gives no answer: look at its log";

/** How a vault is. */
export interface VaultStatus {
  readonly vault: { readonly directory: string; readonly id: string; readonly createdAtMs: number };
  readonly writer: AskedState;
  /** Alarms first. */
  readonly alarms: readonly Alarm[];
  readonly groups: readonly GroupStatus[];
}

/** How a group of a vault is. */
export interface GroupStatus {
  readonly name: GroupName;
  /** From the writer; "idle" when none runs. */
  readonly state: string;
  /** Why the group is not well, with what to do; null when it is. */
  readonly trouble: string | null;
  readonly points: number;
  readonly oldest: PointStatus | null;
  readonly newest: PointStatus | null;
  /** What a loss of the source would cost now; null before the first point. */
  readonly rpoSeconds: number | null;
  /** How far that may be off; null while the two sites' clocks were not compared. */
  readonly rpoErrorSeconds: number | null;
  /** What the group takes on the vault's file system, apart. */
  readonly storedBytes: number;
  readonly journalBytes: number;
  readonly baseBytes: number;
  /** From the process that replicates into this vault, if it is on this host. */
  readonly telemetry: GroupTelemetry | null;
  /** From the process that serves this vault. */
  readonly custody: Custody | null;
}

interface PointStatus {
  readonly id: string;
  readonly sequence: number;
  readonly takenAtMs: number;
  /** Nothing had changed since the point until then; null when that was not asked. */
  readonly currentAtMs: number | null;
}

/** Looks at a vault and asks the process that writes to it. VAULT_MISSING. */
export async function vaultStatus(
  context: CommandContext,
  directory: string,
): Promise<VaultStatus> {
  await using vault = await readVault(context, directory);
  const writer = await askForState(context, vault.directory);
  const groups: GroupStatus[] = [];
  for (const name of await vault.groups()) {
    groups.push(await groupStatus(context, vault, name, writer));
  }
  const { id, createdAtMs } = vault.description;
  const alarms = writer === null || writer === "silent" ? [] : (writer.alarms ?? []);
  return { vault: { directory: vault.directory, id, createdAtMs }, writer, alarms, groups };
}

async function groupStatus(
  context: CommandContext,
  vault: Vault,
  name: GroupName,
  writer: AskedState,
): Promise<GroupStatus> {
  const points = (await vault.reader(name)).points();
  const newest = points.at(-1) ?? null;
  const groups = writer === null || writer === "silent" ? [] : writer.groups;
  const running = groups.find((group) => group.name === name);
  const custody = running?.custody ?? null;
  const telemetry = running?.telemetry ?? null;
  const layout = groupLayout(vault.directory, name);
  const allocated = (path: string) => allocatedBytes(context.files, path);
  return {
    name,
    state: running?.state ?? (writer === "silent" ? "unknown" : "idle"),
    trouble:
      writer === "silent"
        ? silentTrouble
        : (running?.trouble ?? troubleOf(newest, running === undefined)),
    points: points.length,
    oldest: pointStatus(points[0] ?? null),
    newest: withNewerCurrency(pointStatus(newest), telemetry),
    ...rpoOf({ custody, telemetry, newest, nowMs: context.clock.nowMs() }),
    storedBytes: await allocated(layout.directory),
    journalBytes: await allocated(layout.deltas),
    baseBytes: await allocated(layout.base),
    telemetry,
    custody,
  };
}

/** A running process knows newer than what it has written down: that nothing changed is written only now and then. */
function withNewerCurrency(
  newest: PointStatus | null,
  telemetry: GroupTelemetry | null,
): PointStatus | null {
  const told = telemetry?.newest;
  if (newest === null || told?.id !== newest.id || told.currentAtMs === null) return newest;
  return { ...newest, currentAtMs: Math.max(told.currentAtMs, newest.currentAtMs ?? 0) };
}

/** From the process that serves the vault or replicates into it; else by the point alone, brought to this host's clock. */
function rpoOf(known: {
  readonly custody: Custody | null;
  readonly telemetry: GroupTelemetry | null;
  readonly newest: Point | null;
  readonly nowMs: number;
}) {
  const { custody, telemetry, newest, nowMs } = known;
  if (custody !== null) {
    const { rpoSeconds, rpoErrorSeconds } = custody;
    return { rpoSeconds, rpoErrorSeconds };
  }
  if (telemetry !== null) return { rpoSeconds: telemetry.rpoSeconds, rpoErrorSeconds: null };
  if (newest === null) return { rpoSeconds: null, rpoErrorSeconds: null };
  const { instant, currentAtMs, clock } = newest;
  const shownAtMs = Math.max(instant.lowerMs, currentAtMs ?? 0) + (clock?.offsetMs ?? 0);
  return {
    rpoSeconds: Math.max(0, nowMs - shownAtMs) / 1000,
    rpoErrorSeconds: clock === null ? null : clock.errorMs / 1000,
  };
}

async function allocatedBytes(files: FileSystem, path: string): Promise<number> {
  const found = await files.stat(path);
  if (found === null) return 0; // Merged or dropped meanwhile.
  if (found.kind !== "directory") return found.allocatedBytes;
  let total = found.allocatedBytes;
  for (const name of await files.list(path)) total += await allocatedBytes(files, join(path, name));
  return total;
}

function troubleOf(newest: Point | null, isIdle: boolean): string | null {
  if (isIdle) {
    return "nothing replicates into it: start `afterimage up CONFIG` here, or `afterimage vault serve` for another site";
  }
  if (newest === null) return "no point yet: the initial sync must end first";
  if (newest.consistency.isGroupConsistent) return null;
  return `the newest point is not group-consistent: ${newest.consistency.reason}`;
}

function pointStatus(point: Point | null): PointStatus | null {
  if (point === null) return null;
  const { id, sequence, instant, currentAtMs } = point;
  return { id, sequence, takenAtMs: instant.lowerMs, currentAtMs };
}

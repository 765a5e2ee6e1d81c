import { join } from "node:path";
import type { Command } from "commander";
import type { FileSystem } from "../base/file-system.ts";
import { formatBytes, formatSeconds } from "../base/units.ts";
import { askWriter } from "../control/client.ts";
import { type WriterState, writerStateSchema } from "../control/writer-state.ts";
import type { GroupName } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import type { Vault } from "../journal/vault.ts";
import { controlSocket, groupLayout } from "../journal/vault-layout.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { formatInstant, formatTable } from "./table.ts";
import { readVault } from "./vault-access.ts";

/** `afterimage status VAULT` */
export function statusVerb(context: CommandContext): Command {
  return verbCommand(
    "status",
    "show the groups of a vault, how old their newest points are, and who writes",
    "afterimage status /srv/vault",
  )
    .argument("<vault>", "the vault's directory")
    .action((vault: string, options: CommonOptions) => runStatus(context, vault, options));
}

const answerTimeoutMs = 3000;
const silentTrouble = "the process that writes to the vault gives no answer: look at its log";

/** Null: nobody writes. "silent": somebody does and gives no answer. */
type Writer = WriterState | "silent" | null;

interface GroupStatus {
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
  /** What the group takes on the vault's file system. */
  readonly storedBytes: number;
}

interface PointStatus {
  readonly id: string;
  readonly sequence: number;
  readonly takenAtMs: number;
}

async function runStatus(
  context: CommandContext,
  argument: string,
  options: CommonOptions,
): Promise<void> {
  await using vault = await readVault(context, argument);
  const writer = await askForState(context, vault.directory);
  const groups: GroupStatus[] = [];
  for (const name of await vault.groups()) {
    groups.push(await groupStatus(context, vault, name, writer));
  }
  const { directory } = vault;
  const { id, createdAtMs } = vault.description;
  printResult(context, options, {
    json: { vault: { directory, id, createdAtMs }, writer, groups },
    text: describe(directory, id, writer, groups),
  });
}

/** A writer that is stopped or overloaded must not keep a reader waiting. */
async function askForState(context: CommandContext, directory: string): Promise<Writer> {
  const path = controlSocket(directory);
  const late = new AbortController();
  const answered = new AbortController();
  context.clock.sleep(answerTimeoutMs, { signal: answered.signal }).then(
    () => late.abort(),
    () => {}, // It answered.
  );
  const signal = AbortSignal.any([context.signal, late.signal]);
  try {
    const answer = await askWriter({ path, request: { verb: "state" }, signal });
    return answer === null ? null : writerStateSchema.parse(answer.result);
  } catch (error) {
    if (late.signal.aborted && !context.signal.aborted) return "silent";
    throw error;
  } finally {
    answered.abort();
  }
}

async function groupStatus(
  context: CommandContext,
  vault: Vault,
  name: GroupName,
  writer: Writer,
): Promise<GroupStatus> {
  const points = (await vault.reader(name)).points();
  const newest = points.at(-1) ?? null;
  const groups = writer === null || writer === "silent" ? [] : writer.groups;
  const running = groups.find((group) => group.name === name);
  return {
    name,
    state: running?.state ?? (writer === "silent" ? "unknown" : "idle"),
    trouble:
      writer === "silent"
        ? silentTrouble
        : (running?.trouble ?? troubleOf(newest, running === undefined)),
    points: points.length,
    oldest: pointStatus(points[0] ?? null),
    newest: pointStatus(newest),
    rpoSeconds: newest === null ? null : (context.clock.nowMs() - newest.instant.lowerMs) / 1000,
    storedBytes: await allocatedBytes(context.files, groupLayout(vault.directory, name).directory),
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
  if (isIdle) return "nothing replicates this group: start `afterimage up CONFIG`";
  if (newest === null) return "no point yet: the initial sync must end first";
  if (newest.consistency.isGroupConsistent) return null;
  return `the newest point is not group-consistent: ${newest.consistency.reason}`;
}

function pointStatus(point: Point | null): PointStatus | null {
  if (point === null) return null;
  return { id: point.id, sequence: point.sequence, takenAtMs: point.instant.lowerMs };
}

function describe(
  directory: string,
  id: string,
  writer: Writer,
  groups: readonly GroupStatus[],
): string {
  const who =
    writer === null
      ? "nobody writes"
      : writer === "silent"
        ? "somebody writes"
        : `process ${writer.pid} writes`;
  const head = `Vault ${id} in ${directory}; ${who}.`;
  if (groups.length === 0) return `${head}\nNo groups yet: \`afterimage up CONFIG\` makes them.`;
  const table = formatTable(
    [
      { title: "GROUP" },
      { title: "STATE" },
      { title: "POINTS", align: "right" },
      { title: "NEWEST" },
      { title: "RPO", align: "right" },
      { title: "STORED", align: "right" },
    ],
    groups.map((group) => [
      group.name,
      group.state,
      String(group.points),
      group.newest === null ? "-" : formatInstant(group.newest.takenAtMs),
      group.rpoSeconds === null ? "-" : formatSeconds(group.rpoSeconds),
      formatBytes(group.storedBytes),
    ]),
  );
  const troubles = groups.filter((group) => group.trouble !== null);
  return [head, table, ...troubles.map(({ name, trouble }) => `! ${name}: ${trouble}`)].join("\n");
}

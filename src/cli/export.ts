import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { Fault } from "../base/fault.ts";
import { formatBytes } from "../base/units.ts";
import type { View } from "../core/journal.ts";
import type { PointDisk } from "../core/point.ts";
import { exportQcow2 } from "../recovery/export-qcow2.ts";
import { dataBytesOf, exportRaw } from "../recovery/export-raw.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { pointSelectorHelp } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { formatTable } from "./table.ts";
import { describePoint, openPoint, readGroup } from "./vault-access.ts";

interface ExportOptions extends CommonOptions {
  readonly point: string;
  readonly out: string;
  readonly format: "raw" | "qcow2";
}

interface PlannedDisk {
  readonly disk: PointDisk;
  readonly path: string;
  readonly dataBytes: number;
}

/** `afterimage export VAULT GROUP --point P --out DIR --format raw|qcow2` */
export function exportVerb(context: CommandContext): Command {
  return verbCommand(
    "export",
    "write each disk of a point to an image file, sparse where it is zero",
    "afterimage export /srv/vault erp --point newest --out /restore --format qcow2",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .requiredOption("--point <point>", pointSelectorHelp)
    .requiredOption("--out <directory>", "where the images are written; made when it is not there")
    .addOption(
      new Option("--format <format>", "format of the images")
        .choices(["raw", "qcow2"])
        .default("raw"),
    )
    .action((vault: string, group: string, options: ExportOptions) =>
      runExport(context, { vault, group }, options),
    );
}

async function runExport(
  context: CommandContext,
  at: { vault: string; group: string },
  options: ExportOptions,
): Promise<void> {
  const { files } = context;
  const access = await readGroup(context, at.vault, at.group);
  await using _vault = access.vault;
  await using view = await openPoint(access, options.point);
  const directory = absolutePath(options.out);
  await files.makeDirectory(directory);
  const planned = await plan(context, view, directory, options);
  try {
    await writeImages(context, view, planned, options);
  } catch (error) {
    // Half a group is no point: what was finished before goes too.
    for (const { path } of planned) await files.remove(path);
    throw error;
  }
  report(context, view, planned, options);
}

async function writeImages(
  context: CommandContext,
  view: View,
  planned: readonly PlannedDisk[],
  { format }: ExportOptions,
): Promise<void> {
  const { files, signal } = context;
  using progress = startProgress(context.terminal, context.clock);
  for (const { disk, path, dataBytes } of planned) {
    progress.step(`writing ${path}`);
    await files.makeDirectory(dirname(path));
    let done = 0;
    const onBytes = (added: number) => {
      done += added;
      progress.update({ done, total: dataBytes, unit: "bytes" });
    };
    const write = format === "raw" ? exportRaw : exportQcow2;
    await write({ view, disk, files, path, signal, onBytes });
  }
}

/** Looks before anything is written: no file is replaced, and there is room for all. */
async function plan(
  context: CommandContext,
  view: View,
  directory: string,
  { format }: ExportOptions,
): Promise<readonly PlannedDisk[]> {
  const { files } = context;
  const planned: PlannedDisk[] = [];
  for (const disk of view.disks) {
    context.signal.throwIfAborted();
    // A directory for each machine: disk names are "machine/disk".
    const path = join(directory, `${disk.name}.${format}`);
    if ((await files.stat(path)) !== null) {
      throw new Fault("USAGE", `${path} is there already; name another --out`, { path });
    }
    planned.push({ disk, path, dataBytes: await dataBytesOf(view, disk) });
  }
  const neededBytes = planned.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  const freeBytes = await files.freeBytes(directory);
  if (freeBytes >= neededBytes) return planned;
  const message = `${directory} has ${formatBytes(freeBytes)} free, the point needs ${formatBytes(neededBytes)}`;
  throw new Fault("STORAGE_FULL", message, { path: directory, freeBytes, neededBytes });
}

function report(
  context: CommandContext,
  view: View,
  planned: readonly PlannedDisk[],
  options: ExportOptions,
): void {
  const { id, sequence } = view.point;
  const disks = planned.map(({ disk, path, dataBytes }) => {
    const { name, sizeBytes } = disk;
    return { name, path, sizeBytes, dataBytes };
  });
  const table = formatTable(
    [
      { title: "DISK" },
      { title: "SIZE", align: "right" },
      { title: "DATA", align: "right" },
      { title: "FILE" },
    ],
    disks.map((disk) => [
      disk.name,
      formatBytes(disk.sizeBytes),
      formatBytes(disk.dataBytes),
      disk.path,
    ]),
  );
  printResult(context, options, {
    json: { point: { id, sequence }, format: options.format, disks },
    text: `Exported ${describePoint(view.point)}.\n${table}`,
  });
}

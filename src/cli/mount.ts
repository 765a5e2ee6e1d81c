import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { formatBytes, GIB } from "../base/units.ts";
import type { View } from "../core/journal.ts";
import type { NbdAddress } from "../nbd/address.ts";
import { fixedExports, type NbdExport } from "../nbd/export.ts";
import { type NbdServer, serveNbd } from "../nbd/server.ts";
import { viewExport } from "../recovery/view-export.ts";
import { writeLayer } from "../recovery/write-layer.ts";
import { absolutePath, sizeArgument, wholeNumber } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { interruption } from "./interruption.ts";
import { pointSelectorHelp } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { formatTable } from "./table.ts";
import { describePoint, openPoint, readGroup } from "./vault-access.ts";

const layerBytesMax = 16 * GIB;

interface MountOptions extends CommonOptions {
  readonly point: string;
  readonly socket?: string;
  readonly port?: number;
  readonly writable?: boolean;
  readonly scratch?: string;
  readonly scratchCap?: number;
}

/** `afterimage mount VAULT GROUP --point P` */
export function mountVerb(context: CommandContext): Command {
  return verbCommand(
    "mount",
    "serve each disk of a point over NBD until interrupted; the vault never changes",
    "afterimage mount /srv/vault erp --point newest --port 10809",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .requiredOption("--point <point>", pointSelectorHelp)
    .option("--socket <path>", "listen on this unix socket (default: one in a new directory)")
    .option(
      "--port <port>",
      "listen on TCP on 127.0.0.1; 0 takes any free port",
      wholeNumber(0, 65_535),
    )
    .option("--writable", "let clients write into a layer that is thrown away at the end")
    .option(
      "--scratch <directory>",
      "where the layer lies while it is used (default: where temporary files lie)",
    )
    .option(
      "--scratch-cap <size>",
      "most room that a disk's layer takes (default: 16GiB)",
      sizeArgument,
    )
    .action((vault: string, group: string, options: MountOptions) =>
      runMount(context, { vault, group }, options),
    );
}

async function runMount(
  context: CommandContext,
  at: { vault: string; group: string },
  options: MountOptions,
): Promise<void> {
  await using opened = new AsyncDisposableStack();
  const access = await readGroup(context, at.vault, at.group);
  opened.use(access.vault);
  const view = opened.use(await openPoint(access, options.point));
  const listen = await chooseAddress(options, opened);
  const exports = await makeExports(context, view, options, opened);
  const server = opened.use(await serveNbd({ listen, exports: fixedExports(exports) }));
  announce(context, view, server, options);
  await interruption(context.signal);
}

async function chooseAddress(
  options: MountOptions,
  opened: AsyncDisposableStack,
): Promise<NbdAddress> {
  if (options.port !== undefined) return { host: "127.0.0.1", port: options.port };
  if (options.socket !== undefined) return { path: absolutePath(options.socket) };
  const directory = await ownDirectory(tmpdir(), "afterimage-mount-", opened);
  return { path: join(directory, "nbd") };
}

async function makeExports(
  context: CommandContext,
  view: View,
  options: MountOptions,
  opened: AsyncDisposableStack,
): Promise<ReadonlyMap<string, NbdExport>> {
  const exports = new Map<string, NbdExport>();
  const directory =
    options.writable === true
      ? await ownDirectory(absolutePath(options.scratch ?? tmpdir()), "afterimage-layer-", opened)
      : null;
  for (const disk of view.disks) {
    const beneath = viewExport(view, disk);
    if (directory === null) {
      exports.set(disk.name, beneath);
      continue;
    }
    const path = join(directory, disk.identity);
    const { files } = context;
    const capBytes = options.scratchCap ?? layerBytesMax;
    const layer = await writeLayer({ beneath, files, path, capBytes });
    exports.set(disk.name, opened.use(layer).export);
  }
  return exports;
}

/** A new directory that is gone at the end. */
async function ownDirectory(
  parent: string,
  prefix: string,
  opened: AsyncDisposableStack,
): Promise<string> {
  const directory = await mkdtemp(join(parent, prefix));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function announce(
  context: CommandContext,
  view: View,
  server: NbdServer,
  options: MountOptions,
): void {
  const { id, sequence } = view.point;
  const isWritable = options.writable === true;
  const disks = view.disks.map(({ name, sizeBytes }) => ({
    name,
    sizeBytes,
    uri: server.uri(name),
  }));
  const table = formatTable(
    [{ title: "DISK" }, { title: "SIZE", align: "right" }, { title: "URI" }],
    disks.map((disk) => [disk.name, formatBytes(disk.sizeBytes), disk.uri]),
  );
  const how = isWritable ? "writable, thrown away at the end" : "read only";
  const head = `Serving ${describePoint(view.point)}, ${how}. Ctrl-C ends it.`;
  printResult(context, options, {
    json: { point: { id, sequence }, isWritable, disks },
    text: `${head}\n${table}`,
  });
}

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { formatBytes, GIB } from "../base/units.ts";
import type { View } from "../core/journal.ts";
import type { NbdAddress } from "../nbd/address.ts";
import { fixedExports, type NbdExport } from "../nbd/export.ts";
import { type NbdServer, serveNbd } from "../nbd/server.ts";
import type { NbdServerIncident } from "../nbd/server-options.ts";
import { viewExport } from "../recovery/view-export.ts";
import { writeLayer } from "../recovery/write-layer.ts";
import { parseSiteAddress } from "../tls/token.ts";
import { absolutePath, sizeArgument, wholeNumber } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { interruption } from "./interruption.ts";
import { exportTls } from "./mount-tls.ts";
import { pointSelectorHelp } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { formatTable } from "./table.ts";
import { describePoint, openPoint, readGroup } from "./vault-access.ts";

const layerBytesMax = 16 * GIB;

interface MountOptions extends CommonOptions {
  readonly point: string;
  readonly socket?: string;
  readonly port?: number;
  readonly listen?: NbdAddress;
  readonly tls?: boolean;
  readonly tlsName: readonly string[];
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
    .option(
      "--listen <address>",
      "listen on TCP on this host and port, for other hosts; needs --tls",
      listenArgument,
    )
    .option("--tls", "let in only who shows a certificate of `afterimage vault certificate`")
    .option(
      "--tls-name <host>",
      "a further name or address that clients reach this host by; may be repeated",
      (name: string, before: readonly string[]) => [...before, name],
      [],
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
  const closing = new AbortController();
  opened.defer(() => closing.abort());
  const { signal } = closing;
  const names = options.tlsName;
  const tls =
    options.tls === true
      ? { tls: await exportTls(context, access.vault, { listen, names, signal }) }
      : {};
  const report = (incident: NbdServerIncident) => tellIncident(context, incident);
  const server = opened.use(
    await serveNbd({ listen, exports: fixedExports(exports), report, ...tls }),
  );
  announce(context, view, server, options);
  await interruption(context.signal);
}

async function chooseAddress(
  options: MountOptions,
  opened: AsyncDisposableStack,
): Promise<NbdAddress> {
  if (options.listen !== undefined) return options.listen;
  if (options.port !== undefined) return { host: "127.0.0.1", port: options.port };
  if (options.socket !== undefined) return { path: absolutePath(options.socket) };
  const directory = await ownDirectory(tmpdir(), "afterimage-mount-", opened);
  return { path: join(directory, "nbd") };
}

function listenArgument(text: string): NbdAddress {
  const address = parseSiteAddress(text);
  if (address !== null) return address;
  throw new InvalidArgumentError('It is host and port, such as "192.0.2.7:10809".');
}

/** Clients hear no reasons, so whoever runs the command does. */
function tellIncident(context: CommandContext, { error, address }: NbdServerIncident): void {
  const text = error instanceof Error ? error.message : String(error);
  const from = address === "" || text.includes(address) ? "" : `${address}: `;
  context.terminal.err(`afterimage: ${from}${text}\n`);
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

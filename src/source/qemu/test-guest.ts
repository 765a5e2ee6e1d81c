import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { isFault } from "../../base/fault.ts";
import { nodeFileSystem } from "../../base/node-file-system.ts";
import type { Extent } from "../../core/extent.ts";
import {
  type DiskName,
  type GroupName,
  type MachineName,
  type PointId,
  parseGroupName,
} from "../../core/ids.ts";
import type { Snapshot, Source } from "../../core/source.ts";
import { connectNbd, type NbdClient } from "../../nbd/client.ts";
import { parseNodes } from "../../qemu/block-graph.ts";
import { createImage, type ImageFormat } from "../../qemu/image.ts";
import { ownSocketFile } from "../../qemu/own-names.ts";
import { connectQmp, type Qmp } from "../../qemu/qmp.ts";
import type { QemuSourceOptions } from "./settings.ts";
import { qemuSource } from "./source.ts";

// For tests: a storage daemon stands for a machine's QEMU, an NBD client for its guest.

export const testGroup = parseGroupName("erp") as GroupName;
export const testSignal = new AbortController().signal;
export const testPoint = (number: number) => number.toString(16).padStart(16, "0") as PointId;
export const diskName = (text: string) => text as DiskName;

export interface GuestDisk {
  readonly name: string;
  readonly sizeBytes: number;
  readonly format?: ImageFormat;
}

/** A "machine" of a storage daemon: node `name` for each disk, a socket for the source and one for the test. */
export interface Guest extends AsyncDisposable {
  readonly machine: MachineName;
  readonly qmpPath: string;
  readonly qmp: Qmp;
  /** What the guest writes through. */
  disk(name: string): NbdClient;
  /** Names of the bitmaps on a disk, sorted. */
  bitmaps(name: string): Promise<readonly string[]>;
  nodeNames(): Promise<readonly string[]>;
  /** The source's connection ends, as when its process is killed. */
  dropSourceConnection(): void;
  /** Ends in order. */
  quit(): Promise<void>;
  kill(): Promise<void>;
}

export interface TestHost extends AsyncDisposable {
  readonly directory: string;
  readonly scratchDirectory: string;
  imagePath(machine: string, disk: string): string;
  createImages(machine: string, disks: readonly GuestDisk[]): Promise<void>;
  start(machine: string, disks: readonly GuestDisk[]): Promise<Guest>;
  source(
    machines: Readonly<Record<string, readonly GuestDisk[]>>,
    options?: Partial<QemuSourceOptions> & { readonly capBytes?: number },
  ): Source;
}

/** A directory with images and scratch, gone when disposed, with every guest that was started in it. */
export async function testHost(): Promise<TestHost> {
  const directory = await mkdtemp(join(tmpdir(), "aft-"));
  const guests: Guest[] = [];
  const imagePath = (machine: string, disk: string) => join(directory, `${machine}-${disk}.img`);
  const scratchDirectory = join(directory, "scratch");
  return {
    directory,
    scratchDirectory,
    imagePath,
    async createImages(machine, disks) {
      for (const { name, sizeBytes, format = "qcow2" } of disks) {
        await createImage(imagePath(machine, name), { format, sizeBytes });
      }
    },
    async start(machine, disks) {
      const guest = await startGuest(directory, machine, disks, imagePath);
      guests.push(guest);
      return guest;
    },
    source(machines, { capBytes, ...options } = {}) {
      return qemuSource({
        group: testGroup,
        machines: Object.entries(machines).map(([name, disks]) => ({
          name: name as MachineName,
          qmpPath: join(directory, `${name}.qmp`),
          disks: disks.map((disk) => ({
            name: disk.name,
            node: disk.name,
            image: imagePath(name, disk.name),
            tracking: disk.format === "raw" ? "transient" : "persistent",
          })),
        })),
        scratch: { directory: scratchDirectory, capBytes: capBytes ?? 1_000_000_000 },
        clock: systemClock(),
        files: nodeFileSystem(),
        ...options,
      });
    },
    async [Symbol.asyncDispose]() {
      for (const guest of guests) await guest.kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function startGuest(
  directory: string,
  machine: string,
  disks: readonly GuestDisk[],
  imagePath: TestHost["imagePath"],
): Promise<Guest> {
  const qmpPath = join(directory, `${machine}.qmp`);
  const controlPath = join(directory, `${machine}.control`);
  await rm(qmpPath, { force: true });
  await rm(controlPath, { force: true });
  const relay = await startRelay(qmpPath, join(directory, `${machine}.inner`));
  // QEMU has one NBD server: the guest writes through the one that the source takes for its own.
  await mkdir(join(directory, "scratch"), { recursive: true });
  const nbdPath = join(directory, "scratch", ownSocketFile(testGroup, machine as MachineName));
  const child = spawnDaemon({
    monitorPaths: [join(directory, `${machine}.inner`), controlPath],
    nbdPath,
    disks: disks.map((disk) => ({ ...disk, path: imagePath(machine, disk.name) })),
  });
  const ended = once(child, "close");
  const qmp = await connectPatiently(controlPath, child);
  const writers = new Map<string, NbdClient>();
  for (const { name } of disks) {
    const exportName = `guest-${name}`;
    const write = { type: "nbd", id: exportName, "node-name": name, name: exportName };
    await qmp.execute("block-export-add", { ...write, writable: true });
    writers.set(name, await connectNbd({ address: { path: nbdPath }, exportName }));
  }
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    if (signal === "SIGTERM") for (const client of writers.values()) await client.flush();
    for (const client of writers.values()) await client[Symbol.asyncDispose]();
    child.kill(signal);
    await ended;
    await qmp[Symbol.asyncDispose]();
    relay.close();
  };
  return {
    machine: machine as MachineName,
    qmpPath,
    qmp,
    disk: (name) => {
      const client = writers.get(name);
      if (!client) throw new Error(`the guest has no disk ${name}`);
      return client;
    },
    async bitmaps(name) {
      const answer = await qmp.execute("query-named-block-nodes", { flat: true });
      const node = parseNodes(answer).find((found) => found.name === name);
      return (node?.bitmaps ?? []).map((bitmap) => bitmap.name).sort();
    },
    async nodeNames() {
      const answer = await qmp.execute("query-named-block-nodes", { flat: true });
      return parseNodes(answer).map(({ name }) => name);
    },
    dropSourceConnection: relay.drop,
    quit: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    async [Symbol.asyncDispose]() {
      await end("SIGKILL");
    },
  };
}

function spawnDaemon(options: {
  readonly monitorPaths: readonly string[];
  readonly nbdPath: string;
  readonly disks: readonly (GuestDisk & { readonly path: string })[];
}): ChildProcess {
  const monitors = options.monitorPaths.flatMap((path, index) => [
    "--chardev",
    `socket,id=c${index},path=${path},server=on,wait=off`,
    "--monitor",
    `chardev=c${index}`,
  ]);
  const nodes = options.disks.flatMap(({ name, format = "qcow2", path }) => [
    "--blockdev",
    JSON.stringify({
      driver: format,
      "node-name": name,
      discard: "unmap",
      file: { driver: "file", filename: path, discard: "unmap" },
    }),
  ]);
  const server = ["--nbd-server", `addr.type=unix,addr.path=${options.nbdPath},max-connections=0`];
  const daemon = ["qemu-storage-daemon", ...monitors, ...server, ...nodes];
  return spawn("setpriv", ["--pdeathsig", "KILL", ...daemon], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

/** Passes bytes between a socket and another, so that a test can cut the connection. */
async function startRelay(path: string, innerPath: string) {
  const sockets = new Set<Socket>();
  const drop = () => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((outer) => {
    const inner = connect(innerPath);
    for (const socket of [outer, inner]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        outer.destroy();
        inner.destroy();
      });
    }
    outer.pipe(inner);
    inner.pipe(outer);
  });
  server.listen(path);
  await once(server, "listening");
  return {
    drop,
    close: () => {
      drop();
      server.close();
    },
  };
}

export async function connectPatiently(path: string, child: ChildProcess): Promise<Qmp> {
  for (;;) {
    try {
      return await connectQmp({ path });
    } catch (error) {
      if (!isFault(error, "QMP_MISSING") || child.exitCode !== null) throw error;
      await systemClock().sleep(5);
    }
  }
}

export async function extentsOf(snapshot: Snapshot, disk: string): Promise<readonly Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of snapshot.extents(diskName(disk))) extents.push(extent);
  return extents;
}

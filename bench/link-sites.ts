import { type ChildProcess, spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { access, mkdir, readFile, rm } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GIB, MIB } from "../src/base/units.ts";
import { nbdUri } from "../src/nbd/address.ts";
import { rssBytesMaxOf, runProgram } from "./process.ts";

export const diskBytes = 2 * GIB;
export const exportName = "disk";
const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** What the sender's process tells of one shipment. */
export interface Shipment {
  readonly durationMs: number;
  readonly sealMs: number;
  readonly rssBytes: number;
  readonly vaultRssBytes: number;
  readonly sentBytes: number;
  readonly resentBytes: number;
  readonly cpuMs: number;
  readonly vaultCpuMs: number;
  /** Of chunks that arrived again although the vault had them. */
  readonly repeatedBytes: number;
}

/** 2 GiB of random data in a raw file: nothing in it compresses, is a hole or reads as zero. */
export async function makeDisk(path: string): Promise<void> {
  await pipeline(randomChunks(), createWriteStream(path));
}

function* randomChunks(): Generator<Buffer> {
  for (let doneBytes = 0; doneBytes < diskBytes; doneBytes += 4 * MIB) {
    yield randomFillSync(Buffer.allocUnsafe(4 * MIB));
  }
}

/** qemu-storage-daemon with the disk on a unix socket. */
export async function startDaemon(diskPath: string, socketPath: string): Promise<AsyncDisposable> {
  const child = spawn(
    "qemu-storage-daemon",
    [
      ...["--blockdev", `driver=file,node-name=disk,read-only=on,filename=${diskPath}`],
      ...["--nbd-server", `addr.type=unix,addr.path=${socketPath},max-connections=0`],
      ...["--export", `type=nbd,id=export,node-name=disk,name=${exportName},writable=off`],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  return await whenThere(child, () => isThere(socketPath));
}

/** Ships the disk into a new vault in `directory`, which is removed. `relay` stands between the sites. */
export async function shipOnce(options: {
  readonly socketPath: string;
  readonly identities: string;
  readonly directory: string;
  readonly relay?: (port: number) => Promise<AsyncDisposable & { readonly port: number }>;
}): Promise<Shipment> {
  const { socketPath, identities, directory } = options;
  const nodeOptions = (process.env.LINK_NODE_OPTIONS ?? "").split(" ").filter(Boolean);
  const vault = spawn(
    process.execPath,
    [...nodeOptions, beside("link-vault.ts"), directory, identities],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = once(vault, "exit");
  try {
    const lines = createInterface(vault.stdout);
    const [line] = (await once(lines, "line")) as [string];
    await using relay = await options.relay?.(Number(line));
    const port = relay?.port ?? Number(line);
    const run = await runProgram(process.execPath, [
      ...nodeOptions,
      ...[beside("link-sender.ts"), socketPath, exportName, String(port), identities],
    ]);
    const vaultRssBytes = (await rssBytesMaxOf(vault.pid ?? 0)) ?? 0;
    const vaultCpuMs = await cpuMsOf(vault.pid ?? 0);
    vault.kill("SIGTERM");
    const [repeated] = (await once(lines, "line")) as [string];
    const repeatedBytes = Number(repeated);
    return { ...(JSON.parse(run.stdout) as Shipment), vaultRssBytes, vaultCpuMs, repeatedBytes };
  } finally {
    vault.kill("SIGTERM");
    await ended;
    await rm(directory, { recursive: true, force: true });
  }
}

/** User and system time of a process so far (proc(5); a clock tick is 10 ms on Linux). */
async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** nbdcopy over TLS into `nbdkit --tls=require file` with a flush at the end; from its start to its end. */
export async function copyOnce(options: {
  readonly socketPath: string;
  readonly identities: string;
  readonly directory: string;
  readonly relay?: (port: number) => Promise<AsyncDisposable & { readonly port: number }>;
}): Promise<{ readonly durationMs: number; readonly rssBytes: number }> {
  const { socketPath, identities, directory } = options;
  await mkdir(directory);
  const path = join(directory, "disk.raw");
  await runProgram("truncate", ["-s", String(diskBytes), path]);
  const port = await freePort();
  const child = spawn(
    "nbdkit",
    [
      ...["--foreground", "--ipaddr", "127.0.0.1", "--port", String(port)],
      ...["--tls=require", `--tls-certificates=${identities}`, "--tls-verify-peer"],
      ...["file", path],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  try {
    await using _server = await whenThere(child, () => answers(port));
    await using relay = await options.relay?.(port);
    const target = `nbds://127.0.0.1:${relay?.port ?? port}/?tls-certificates=${identities}`;
    const run = await runProgram("nbdcopy", [
      ...["--flush", nbdUri({ path: socketPath }, exportName), target],
    ]);
    return { durationMs: run.durationMs, rssBytes: run.rssBytesMax };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function whenThere(
  child: ChildProcess,
  isReady: () => Promise<boolean>,
): Promise<AsyncDisposable> {
  const exited = once(child, "exit");
  const failed = exited.then(() => {
    throw new Error(`${child.spawnfile} ended before it listened`);
  });
  failed.catch(() => {}); // After it listened nobody waits for this.
  while (!(await isReady())) await Promise.race([sleep(10), failed]);
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await exited;
    },
  };
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

async function answers(port: number): Promise<boolean> {
  const socket = net.connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { systemPrng } from "../src/base/prng.ts";
import { GIB } from "../src/base/units.ts";
import { type MachineName, parseGroupName } from "../src/core/ids.ts";
import { attach } from "../src/engine/attach.ts";
import { replicateOnce } from "../src/engine/cycle.ts";
import type { CycleReport } from "../src/engine/cycle-report.ts";
import { syncGroup } from "../src/engine/sync.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { initVault, openVault } from "../src/journal/vault.ts";
import { connectNbd, type NbdClient } from "../src/nbd/client.ts";
import { createImage } from "../src/qemu/image.ts";
import { ownSocketFile } from "../src/qemu/own-names.ts";
import { qemuSource } from "../src/source/qemu/source.ts";
import { BareQmp } from "./bare-qmp.ts";

const group = parseGroupName("bench")!;
const machine = "db" as MachineName;
const { signal } = new AbortController();

/** A storage daemon with disks d0, d1, … that our engine replicates into a vault beside it. */
export interface CycleWorld extends AsyncDisposable {
  readonly directory: string;
  readonly nodes: readonly string[];
  /** A QMP socket that our engine does not use. */
  readonly bare: BareQmp;
  /** Where QEMU's NBD server listens. */
  readonly nbdPath: string;
  /** What the guest writes a disk through; exported for reading too, under the node's name. */
  guest(node: string): NbdClient;
  /** One cycle of ours. */
  cycle(): Promise<CycleReport>;
}

/** Starts the daemon, does the initial sync and the first point. */
export async function cycleWorld(options: {
  readonly disks: number;
  readonly diskBytes: number;
}): Promise<CycleWorld> {
  await using opening = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "afb-"));
  opening.defer(() => rm(directory, { recursive: true, force: true }));
  const nodes = Array.from({ length: options.disks }, (_, index) => `d${index}`);
  for (const node of nodes) {
    const path = join(directory, `${node}.qcow2`);
    await createImage(path, { format: "qcow2", sizeBytes: options.diskBytes });
  }
  opening.use(await startDaemon(directory, nodes));
  const bare = opening.use(await BareQmp.connect(join(directory, "bare.qmp")));
  const ours = opening.use(await openEngine(directory, nodes));
  await ours.cycle(); // Our source starts QEMU's NBD server; what follows uses it too.
  const nbdPath = join(directory, "scratch", ownSocketFile(group, machine));
  const guests = new Map<string, NbdClient>();
  for (const node of nodes) {
    const guest = { type: "nbd", id: `guest-${node}`, "node-name": node, name: node };
    await bare.burst([{ execute: "block-export-add", arguments: { ...guest, writable: true } }]);
    const client = await connectNbd({ address: { path: nbdPath }, exportName: node });
    guests.set(node, opening.use(client));
  }
  const owned = opening.move();
  return {
    directory,
    nodes,
    bare,
    nbdPath,
    guest: (node) => guests.get(node)!,
    cycle: ours.cycle,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

async function startDaemon(directory: string, nodes: readonly string[]): Promise<AsyncDisposable> {
  const monitors = ["ours", "bare"].flatMap((name) => [
    "--chardev",
    `socket,id=${name},path=${join(directory, `${name}.qmp`)},server=on,wait=off`,
    "--monitor",
    `chardev=${name}`,
  ]);
  const disks = nodes.flatMap((node) => {
    const file = { driver: "file", filename: join(directory, `${node}.qcow2`), discard: "unmap" };
    const blockdev = { driver: "qcow2", "node-name": node, discard: "unmap", file };
    return ["--blockdev", JSON.stringify(blockdev)];
  });
  const child = spawn("qemu-storage-daemon", [...monitors, ...disks], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  const ended = once(child, "exit");
  for (const name of ["ours", "bare"]) {
    while (!(await isAnswering(join(directory, `${name}.qmp`)))) {
      if (child.exitCode !== null) throw new Error("qemu-storage-daemon ended at once");
      await systemClock().sleep(5);
    }
  }
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** A socket's file is there a moment before anybody listens on it. */
async function isAnswering(path: string): Promise<boolean> {
  return await BareQmp.connect(path).then(
    async (qmp) => {
      await qmp[Symbol.asyncDispose]();
      return true;
    },
    () => false,
  );
}

async function openEngine(
  directory: string,
  nodes: readonly string[],
): Promise<AsyncDisposable & Pick<CycleWorld, "cycle">> {
  await using opening = new AsyncDisposableStack();
  const [clock, prng, files] = [systemClock(), systemPrng(), nodeFileSystem()];
  const path = join(directory, "vault");
  await initVault(files, path, { clock, prng });
  const locks = sqliteLocks();
  const vault = opening.use(
    await openVault({ files, directory: path, mode: "write", locks, clock, prng }),
  );
  await vault.createGroup(group);
  const journal = opening.use(await vault.journal(group));
  const scratch = { directory: join(directory, "scratch"), capBytes: GIB };
  await mkdir(scratch.directory);
  const disks = nodes.map((node) => ({ name: node, node, tracking: "persistent" as const }));
  const machines = [{ name: machine, qmpPath: join(directory, "ours.qmp"), disks }];
  const source = opening.use(qemuSource({ group, machines, scratch, clock, files }));
  const cycleGroup = { name: group, holder: "00000000000000aa" };
  const attached = await attach({ source, journal, group: cycleGroup, prng, signal });
  let standing = await syncGroup(attached.standing, { source, journal, clock, signal });
  const owned = opening.move();
  return {
    cycle: async () => {
      const options = { source, journal, group: cycleGroup, standing, clock, prng, signal };
      const outcome = await replicateOnce(options);
      standing = outcome.standing;
      if (outcome.forgetError !== null) throw outcome.forgetError;
      return outcome.report;
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

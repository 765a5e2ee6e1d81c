import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { parseNodes } from "../../qemu/block-graph.ts";
import type { Qmp } from "../../qemu/qmp.ts";
import { connectPatiently, type GuestDisk, type TestHost } from "./test-guest.ts";

// For tests: a real QEMU without a guest system; the test writes through its devices with the monitor's `qemu-io`.

export interface TestMachine extends AsyncDisposable {
  readonly qmpPath: string;
  /** For a second client beside the first. */
  readonly secondQmpPath: string;
  readonly qmp: Qmp;
  readonly pid: number;
  /** Runs a qemu-io command on the device of a disk, as if its guest had done it. */
  io(disk: string, command: string): Promise<void>;
  bitmaps(disk: string): Promise<readonly string[]>;
  /** Names of nodes, exports and jobs that begin with "afterimage". */
  ours(): Promise<readonly string[]>;
  quit(): Promise<void>;
  kill(): Promise<void>;
}

export interface MachineDisk extends GuestDisk {
  readonly sectorBytes?: 512 | 4096;
  /** Served by an iothread; as a disk of a SCSI controller or by itself. */
  readonly iothread?: "virtio-blk" | "virtio-scsi";
  /** What its storage carries, reads and writes together. */
  readonly storageBytesPerSecond?: number;
}

/** The image's file, behind storage that carries no more than was said. */
function fileNode({ name, storageBytesPerSecond }: MachineDisk, path: string) {
  const file = { driver: "file", filename: path, discard: "unmap" };
  if (storageBytesPerSecond === undefined) return file;
  return { driver: "throttle", "throttle-group": `s-${name}`, file };
}

function storageArguments({ name, storageBytesPerSecond }: MachineDisk): readonly string[] {
  if (storageBytesPerSecond === undefined) return [];
  const limit = { "x-bps-total": storageBytesPerSecond };
  return ["-object", JSON.stringify({ "qom-type": "throttle-group", id: `s-${name}`, ...limit })];
}

function deviceArguments(
  disk: string,
  sectorBytes: number,
  iothread: MachineDisk["iothread"],
): readonly string[] {
  const sectors = `logical_block_size=${sectorBytes},physical_block_size=${sectorBytes}`;
  const drive = `drive=${disk},id=d-${disk},serial=${disk}-1,${sectors}`;
  const thread = ["-object", `iothread,id=t-${disk}`];
  if (iothread === "virtio-scsi") {
    const controller = `virtio-scsi-pci,id=c-${disk},iothread=t-${disk}`;
    return [...thread, "-device", controller, "-device", `scsi-hd,bus=c-${disk}.0,${drive}`];
  }
  if (iothread === undefined) return ["-device", `virtio-blk-pci,${drive}`];
  return [...thread, "-device", `virtio-blk-pci,${drive},iothread=t-${disk}`];
}

/** Starts a QEMU with the host's images, node and device `d-<name>` for each disk. Runs, unless `isPaused`. */
export async function startTestMachine(
  host: TestHost,
  name: string,
  disks: readonly MachineDisk[],
  options: { readonly isPaused?: boolean } = {},
): Promise<TestMachine> {
  const qmpPath = join(host.directory, `${name}.qmp`);
  const controlPath = join(host.directory, `${name}.control`);
  const secondQmpPath = join(host.directory, `${name}.second`);
  await rm(controlPath, { force: true });
  const blocks = disks.flatMap((one) => {
    const { name: disk, format = "qcow2", sectorBytes = 512, iothread } = one;
    const file = fileNode(one, host.imagePath(name, disk));
    const node = { driver: format, "node-name": disk, discard: "unmap", file };
    const device = deviceArguments(disk, sectorBytes, iothread);
    return [...storageArguments(one), "-blockdev", JSON.stringify(node), ...device];
  });
  const args = [
    ...["-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-no-user-config"],
    ...["-display", "none", ...(options.isPaused ? ["-S"] : [])],
    ...["-qmp", `unix:${qmpPath},server=on,wait=off`],
    ...["-qmp", `unix:${secondQmpPath},server=on,wait=off`],
    ...["-qmp", `unix:${controlPath},server=on,wait=off`],
    ...blocks,
  ];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "qemu-system-x86_64", ...args], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(child, "close");
  const qmp = await connectPatiently(controlPath, child);
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    child.kill(signal);
    await ended;
    await qmp[Symbol.asyncDispose]();
  };
  const machine: TestMachine = {
    qmpPath,
    secondQmpPath,
    qmp,
    pid: child.pid ?? 0,
    async io(disk, command) {
      const line = { "command-line": `qemu-io -d ${device(disk)} "${command}"` };
      const said = await qmp.execute("human-monitor-command", line);
      if (/fail|error|invalid/i.test(String(said))) throw new Error(`${command}: ${String(said)}`);
    },
    async bitmaps(disk) {
      const answer = await qmp.execute("query-named-block-nodes", { flat: true });
      const node = parseNodes(answer).find((found) => found.name === disk);
      return (node?.bitmaps ?? []).map((bitmap) => bitmap.name).sort();
    },
    async ours() {
      const answer = await qmp.execute("query-named-block-nodes", { flat: true });
      const things = [await qmp.execute("query-block-exports"), await qmp.execute("query-jobs")];
      const ids = things.flatMap((list) => (list as { id: string }[]).map(({ id }) => id));
      return [...ids, ...parseNodes(answer).map((node) => node.name)].filter((found) =>
        found.startsWith("afterimage"),
      );
    },
    quit: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    [Symbol.asyncDispose]: () => end("SIGKILL"),
  };
  return machine;
}

const device = (disk: string) => `/machine/peripheral/d-${disk}/virtio-backend`;

/** Whether a machine's guest runs. */
export async function isRunning(machine: TestMachine): Promise<boolean> {
  return ((await machine.qmp.execute("query-status")) as { running: boolean }).running;
}

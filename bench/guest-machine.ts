import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { systemClock } from "../src/base/clock.ts";
import { GIB, MIB } from "../src/base/units.ts";
import { type Machine, startMachine } from "../src/qemu/machine.ts";
import { imageNode } from "../src/qemu/machine-arguments.ts";
import type { MachineDefinition } from "../src/qemu/machine-definition.ts";
import { guestBootTimeoutMs } from "../test/guest/database-guest.ts";
import { ensureGuest } from "../test/guest/guest-images.ts";
import { progress } from "./harness.ts";

const run = promisify(execFile);
const { signal } = new AbortController();

/** What the guest's writer is made of; it goes on a disk of its own, so that the guest of the tests stays as it is. */
const writerPackages = ["python3.11-minimal", "libpython3.11-minimal", "libexpat1"];
const writerDiskMebibytes = 48;
const diskBytes = 4 * GIB;
const definition: MachineDefinition = {
  machineType: "q35",
  cpuCount: 1,
  memoryBytes: 256 * MIB,
  disks: [
    { name: "root", serial: "root", bootIndex: 0 },
    { name: "load", serial: "load", bootIndex: null },
    { name: "tools", serial: "tools", bootIndex: null },
  ],
};

const wroteSchema = z.object({
  count: z.number(),
  seconds: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  longestMs: z.number(),
});

/** How long the guest's writes took, by the guest's own clock. */
export type GuestWrites = z.infer<typeof wroteSchema>;

/** A running machine with an idle system and the disk "load". */
export interface GuestMachine extends AsyncDisposable {
  readonly directory: string;
  readonly machine: Machine;
  /** Random 4 KiB writes by O_DIRECT over the disk's first bytes. */
  write(load: {
    readonly regionBytes: number;
    readonly bytesPerSecond: number;
    readonly seconds: number;
  }): Promise<GuestWrites>;
}

/** Boots the guest of the tests (TCG, unless there is KVM) with a disk of which the first bytes are written already. */
export async function guestMachine(options: {
  readonly writtenBytes: number;
}): Promise<GuestMachine> {
  const images = await ensureGuest({ signal, onStep: progress });
  await using opening = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "afb-guest-"));
  opening.defer(() => rm(directory, { recursive: true, force: true }));
  const path = (disk: string) => join(directory, disk);
  await copyFile(images.root, path("root"));
  await makeWriterDisk(directory, path("tools"));
  await makeLoadDisk(path("load"), options.writtenBytes);
  const machine = opening.use(
    await startMachine({
      name: "db",
      definition,
      nodes: new Map([
        ["root", imageNode(path("root"), "qcow2")],
        ["load", imageNode(path("load"), "qcow2")],
        ["tools", imageNode(path("tools"), "raw")],
      ]),
      directory,
      accelerator: "tcg",
      clock: systemClock(),
      signal,
    }),
  );
  const wait = { timeoutMs: guestBootTimeoutMs, signal };
  await machine.console.waitForLine(/"event":"ready"/, wait);
  machine.console.type("run mkdir -p /tmp/tools && mount -o ro /run/disks/tools /tmp/tools");
  await machine.console.waitForLine(/"event":"ran","status":0/, wait);
  const owned = opening.move();
  let turn = 0;
  return {
    directory,
    machine,
    write: async ({ regionBytes, bytesPerSecond, seconds }) => {
      turn += 1;
      const words = ["/run/disks/load", regionBytes, bytesPerSecond, seconds, turn].join(" ");
      const failed = `echo 'GUEST {"event":"wrote","turn":${turn},"failed":true}'`;
      machine.console.type(`run ${writerCommand} ${words} || ${failed}`);
      const { text } = await machine.console.waitForLine(
        new RegExp(`^GUEST {"event":"wrote","turn":${turn},`),
        { timeoutMs: guestBootTimeoutMs + seconds * 1000, signal },
      );
      return wroteSchema.parse(JSON.parse(text.slice("GUEST ".length)));
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

const tools = "/tmp/tools";
const writerCommand = [
  `LD_LIBRARY_PATH=${tools}/usr/lib/x86_64-linux-gnu:${tools}/lib/x86_64-linux-gnu`,
  `PYTHONHOME=${tools}/usr ${tools}/usr/bin/python3.11 -S -B ${tools}/guest-writer.py`,
].join(" ");

async function makeWriterDisk(directory: string, path: string): Promise<void> {
  const [packages, tree] = [join(directory, "packages"), join(directory, "tree")];
  await mkdir(packages);
  // As root, apt would hand the download to a user who may not write there.
  const fetch = ["download", "-q", "-o", "APT::Sandbox::User=root", ...writerPackages];
  await run("apt-get", fetch, { cwd: packages });
  for (const name of await readdir(packages)) {
    await run("dpkg-deb", ["--extract", join(packages, name), tree]);
  }
  const writer = join(import.meta.dirname, "guest-writer.py");
  await copyFile(writer, join(tree, "guest-writer.py"));
  await run("/sbin/mke2fs", ["-q", "-t", "ext4", "-d", tree, path, `${writerDiskMebibytes}M`]);
  for (const left of [packages, tree]) await rm(left, { recursive: true });
}

/** Overwriting what was never written would measure how qcow2 grows. */
async function makeLoadDisk(path: string, writtenBytes: number): Promise<void> {
  await run("qemu-img", ["create", "-q", "-f", "qcow2", path, String(diskBytes)]);
  const fill = Array.from({ length: writtenBytes / (64 * MIB) }, (_, index) => [
    "-c",
    `write -P ${1 + (index % 250)} ${index * 64 * MIB} ${64 * MIB}`,
  ]);
  await run("qemu-io", ["-f", "qcow2", ...fill.flat(), path]);
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { GIB } from "../src/base/units.ts";
import { createImage } from "../src/qemu/image.ts";
import { progress } from "./harness.ts";
import { runProgram } from "./process.ts";

const packages = [
  "virtnbdbackup",
  "libvirt-daemon-system",
  "libvirt-daemon-driver-qemu",
  "libvirt-clients",
  "qemu-system-x86",
];
const diskBytes = GIB;
const startsWithinMs = 20_000;
/** Without AppArmor, other users and control groups a libvirt runs as root by hand, also in a container. */
const qemuSettings = [
  'user = "root"',
  'group = "root"',
  "dynamic_ownership = 0",
  "remember_owner = 0",
  'security_driver = "none"',
  "cgroup_controllers = []",
  "namespaces = []",
  'stdio_handler = "file"',
].join("\n");

/** A running domain with two qcow2 disks under a libvirt of its own that nothing of the host's libvirt can see. */
export interface LibvirtDomain extends AsyncDisposable {
  /** An incremental of the domain by virtnbdbackup; milliseconds from its start to its end. */
  incremental(): Promise<number>;
}

/** Installs virtnbdbackup and libvirt when they are missing. Null, with the reason told, where that cannot be. */
export async function libvirtDomain(): Promise<LibvirtDomain | null> {
  const missing = await missingReason();
  if (missing !== null) {
    progress(`cycle: without virtnbdbackup: ${missing}`);
    return null;
  }
  await using opening = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "afb-libvirt-"));
  opening.defer(() => rm(directory, { recursive: true, force: true }));
  const inside = opening.use(await startLibvirt(directory));
  for (const disk of ["vda", "vdb"]) {
    await createImage(join(directory, `${disk}.qcow2`), { format: "qcow2", sizeBytes: diskBytes });
  }
  const domainPath = join(directory, "domain.xml");
  await writeFile(domainPath, domainXml(directory));
  await inside.run("virsh", ["-q", "create", domainPath]);
  opening.defer(() => inside.run("virsh", ["-q", "destroy", "bench"]).then(() => {}));
  const into = join(directory, "saved");
  const save = (level: string) =>
    inside.run("virtnbdbackup", ["-n", "-d", "bench", "-l", level, "-o", into, "-S", directory]);
  await save("full");
  const owned = opening.move();
  return {
    incremental: () => save("inc"),
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

async function missingReason(): Promise<string | null> {
  if (await isInstalled()) return process.getuid?.() === 0 ? null : "libvirt needs root here";
  if (process.getuid?.() !== 0) return `install ${packages.join(", ")}`;
  progress(`cycle: installing ${packages.join(", ")}`);
  try {
    await runProgram("apt-get", ["update", "-q"]);
    const options = ["install", "-q", "-y", "--no-install-recommends"];
    const environment = { DEBIAN_FRONTEND: "noninteractive" };
    await runProgram("apt-get", [...options, ...packages], { environment });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message.slice(-300) : String(error);
  }
}

async function isInstalled(): Promise<boolean> {
  return await runProgram("sh", ["-c", "command -v virtnbdbackup && command -v libvirtd"]).then(
    () => true,
    () => false,
  );
}

interface Inside extends AsyncDisposable {
  /** Runs a program where this libvirt is seen; milliseconds it took. */
  run(program: string, programArguments: readonly string[]): Promise<number>;
}

/** libvirtd in a mount namespace: its own configuration, sockets and state lie in `directory`. */
async function startLibvirt(directory: string): Promise<Inside> {
  const places = ["/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt"];
  const binds = places.map((place) => {
    const own = join(directory, place.replaceAll("/", "-"));
    return `mkdir -p ${place} ${own} && mount --bind ${own} ${place}`;
  });
  const script = [
    "set -e",
    ...binds,
    `cp ${join(directory, "qemu.conf")} /etc/libvirt/qemu.conf`,
    `exec libvirtd --pid-file ${join(directory, "libvirtd.pid")}`,
  ].join("\n");
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "qemu.conf"), `${qemuSettings}\n`);
  const daemon = spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  const ended = once(daemon, "exit");
  const run = async (program: string, programArguments: readonly string[]) => {
    const enter = ["--mount", "--target", String(daemon.pid), program, ...programArguments];
    return (await runProgram("nsenter", enter)).durationMs;
  };
  await untilItAnswers(daemon, run);
  return {
    run,
    [Symbol.asyncDispose]: async () => {
      daemon.kill("SIGTERM");
      await ended;
    },
  };
}

async function untilItAnswers(daemon: ChildProcess, run: Inside["run"]): Promise<void> {
  const clock = systemClock();
  for (const startedAtMs = clock.monotonicMs(); ; await clock.sleep(100)) {
    try {
      await run("virsh", ["-q", "-c", "qemu:///system", "version"]);
      return;
    } catch (error) {
      const isLate = clock.monotonicMs() - startedAtMs > startsWithinMs;
      if (daemon.exitCode !== null || isLate) throw error;
    }
  }
}

function domainXml(directory: string): string {
  const disks = ["vda", "vdb"].map(
    (disk) => `<disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
      <source file="${join(directory, `${disk}.qcow2`)}"/><target dev="${disk}" bus="virtio"/></disk>`,
  );
  return `<domain type="qemu"><name>bench</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
    <os><type arch="x86_64">hvm</type></os>
    <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>${disks.join("")}</devices></domain>`;
}

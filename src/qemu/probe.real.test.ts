import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { TIB } from "../base/units.ts";
import { startMachine } from "./machine.ts";
import { probeReplication } from "./probe.ts";
import { probeMachines } from "./probe-machines.ts";
import { probeDirectory, probeRunningMachine } from "./probe-place.ts";

const signal = AbortSignal.timeout(120_000);
const clock = systemClock();
const files = nodeFileSystem();
const path = process.env.PATH;
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-probe-test-"));
});
afterEach(async () => {
  process.env.PATH = path;
  await rm(directory, { recursive: true, force: true });
});

/** Puts a program of ours before the host's. */
async function shadow(program: string, script: string): Promise<void> {
  const file = join(directory, program);
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  process.env.PATH = `${directory}:${path}`;
}

test("on a host with a good QEMU everything is found well", async () => {
  const findings = [
    ...(await probeReplication({ clock, signal })),
    ...(await probeMachines({ clock, signal })),
  ];
  expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  expect(findings.map(({ name }) => name)).toEqual([
    "qemu-img",
    "qemu-storage-daemon",
    "dirty bitmaps",
    "write threshold",
    "point in time",
    "export with a bitmap",
    "giving a point up",
    "bitmaps that outlive QEMU",
    "qemu-system",
    "NBD disks",
    "hardware acceleration",
  ]);
});

test("a host without QEMU is told which package to install", async () => {
  process.env.PATH = directory;
  const [finding, ...others] = await probeReplication({ clock, signal });
  expect(finding).toMatchObject({ name: "qemu-img", ok: false });
  expect(finding?.detail).toContain("qemu-utils");
  expect(finding?.fix).toMatch(/[Ii]nstall/);
  expect(others).toEqual([]);
});

test("a storage daemon that does not start is told with its own words", async () => {
  await shadow("qemu-storage-daemon", "echo 'no such option' >&2; exit 1");
  const findings = await probeReplication({ clock, signal });
  expect(findings.at(-1)).toMatchObject({ name: "qemu-storage-daemon", ok: false });
  expect(findings.at(-1)?.detail).toContain("no such option");
});

test("machines that do not start are told with QEMU's own words", async () => {
  await shadow("qemu-system-x86_64", "echo 'bad firmware' >&2; exit 1");
  const findings = await probeMachines({ clock, signal });
  expect(findings).toEqual([expect.objectContaining({ name: "qemu-system", ok: false })]);
  expect(findings[0]?.detail).toContain("bad firmware");
});

test("a QEMU that aborts under KVM is used without it", async () => {
  await shadow(
    "qemu-system-x86_64",
    `case "$*" in *accel=kvm*) kill -ABRT $$;; esac; PATH=${path} exec qemu-system-x86_64 "$@"`,
  );
  const findings = await probeMachines({ clock, signal });
  expect(findings.at(-1)).toMatchObject({ name: "hardware acceleration", ok: true });
  expect(findings.at(-1)?.detail).toContain("KVM does not work here");
});

test("a running machine is asked for its commands, and one without socket is an error", async () => {
  const definition = { machineType: "q35", cpuCount: 1, memoryBytes: 128 * 2 ** 20, disks: [] };
  await using machine = await startMachine({
    name: "one",
    definition,
    nodes: new Map(),
    directory,
    accelerator: "tcg",
    clock,
    signal,
  });
  const probe = { machine: "one", qmpPath: machine.qmpPath, signal };
  expect(await probeRunningMachine(probe)).toMatchObject([{ name: "one: QMP", ok: true }]);
  const missing = { ...probe, qmpPath: join(directory, "none") };
  expect(await probeRunningMachine(missing)).toMatchObject([
    { ok: false, fix: expect.stringContaining("Start the machine") },
  ]);
});

test("a directory is looked at for access and room", async () => {
  const place = { files, what: "vault", path: directory, freeBytesMin: 1 };
  expect(await probeDirectory(place)).toMatchObject([{ ok: true }, { ok: true }]);
  const full = await probeDirectory({ ...place, freeBytesMin: 1_000_000 * TIB });
  expect(full).toMatchObject([{ ok: true }, { name: "vault: room", ok: false }]);
  const gone = await probeDirectory({ ...place, path: join(directory, "none") });
  expect(gone).toMatchObject([{ name: "vault: access", ok: false }]);
});

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  databaseDefinition,
  guestBootTimeoutMs,
  guestReadyPattern,
} from "../../../test/guest/database-guest.ts";
import { ensureGuest } from "../../../test/guest/guest-images.ts";
import { copyImages } from "../../../test/guest/production.ts";
import { systemClock } from "../../base/clock.ts";
import { GIB, MIB } from "../../base/units.ts";
import { type GroupName, parseGroupName, parseMachineName } from "../../core/ids.ts";
import type { BootDisk, BootRequest } from "../../core/platform.ts";
import { qemuPlatform } from "./platform.ts";

const signal = AbortSignal.timeout(170_000);
// Other tests of this host may start machines of ours at the same time.
const group = parseGroupName(`erp-${process.pid}`)!;
const machineName = parseMachineName("db")!;
let directory = "";
let stack = new AsyncDisposableStack();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-platform-"));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  await rm(directory, { recursive: true, force: true });
});

/** An image served read-only by another program than ours. */
async function serve(name: string, image: string): Promise<string> {
  const socket = join(directory, `${name}.nbd`);
  const args = ["-r", "-f", "qcow2", "-k", socket, "-e", "8", "-t", image];
  const child = spawn("qemu-nbd", args, { stdio: "inherit" });
  stack.defer(async () => {
    child.kill();
    await once(child, "exit");
  });
  while (!existsSync(socket)) await systemClock().sleep(10, { signal });
  return `nbd+unix:///?socket=${socket}`;
}

function request(disks: readonly BootDisk[], definition: object = databaseDefinition): BootRequest {
  const machine = { name: machineName, platform: "qemu", definition: { ...definition } };
  return { group, machine, disks, signal };
}

async function hash(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

test("a machine boots from served disks, is ready within its RTO, and leaves them untouched", async () => {
  const images = await copyImages(await ensureGuest({ signal }), directory);
  const before = await Promise.all(Object.values(images).map(hash));
  const disks = [
    { name: "root", sizeBytes: GIB, uri: await serve("root", images.root) },
    { name: "data", sizeBytes: GIB, uri: await serve("data", images.data) },
    { name: "wal", sizeBytes: 512 * MIB, uri: await serve("wal", images.wal) },
  ];
  const platform = qemuPlatform({ clock: systemClock(), accelerator: "tcg" });
  const machine = stack.use(await platform.start(request(disks)));
  const wait = { pattern: guestReadyPattern, timeoutMs: guestBootTimeoutMs, signal };
  const ready = await machine.waitUntilReady(wait);
  expect(ready.seconds).toBeGreaterThan(0);
  expect(ready.line.text).toContain('"damagedRows" : 0');
  expect(machine.console()).toContain('"event":"booted"');
  const ours = (await platform.listOurs()).find(({ title }) => title === `afterimage-${group}-db`);
  expect(ours).toBeDefined();
  await platform.stop(ours!);
  expect(await machine.ended).toContain("SIGKILL");
  await machine[Symbol.asyncDispose]();
  expect((await platform.listOurs()).map(({ reference }) => reference)).not.toContain(
    ours?.reference,
  );
  expect(await Promise.all(Object.values(images).map(hash))).toEqual(before);
});

test("what cannot be built here is refused before anything is started", async () => {
  const platform = qemuPlatform({
    clock: systemClock(),
    accelerator: "tcg",
    scratchDirectory: directory,
  });
  const refusals: readonly [BootRequest, RegExp][] = [
    [request([]), /no disk root/],
    [request([], { ...databaseDefinition, machineType: "q35,accel=kvm" }), /machineType/],
    [request([], { ...databaseDefinition, memoryBytes: -1 }), /memoryBytes/],
    [request([], { ...databaseDefinition, kernel: "/boot/vmlinuz" }), /cannot be built/],
  ];
  for (const [refused, words] of refusals) {
    await expect(platform.start(refused)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringMatching(words),
    });
  }
  expect(await readdir(directory)).toEqual([]);
});

test("a machine that never becomes ready fails with its console, and leaves nothing", async () => {
  const scratchDirectory = directory;
  const platform = qemuPlatform({ clock: systemClock(), accelerator: "tcg", scratchDirectory });
  const bare = { ...databaseDefinition, disks: [], memoryBytes: 128 * MIB };
  const machine = await platform.start({ ...request([], bare), group: "none" as GroupName });
  const wait = { pattern: guestReadyPattern, timeoutMs: 50, signal };
  await expect(machine.waitUntilReady(wait)).rejects.toMatchObject({ code: "GUEST_FAILED" });
  await machine[Symbol.asyncDispose]();
  expect(await readdir(directory)).toEqual([]);
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startWriter, waitForDatabase } from "../../test/guest/database-guest.ts";
import { ensureGuest } from "../../test/guest/guest-images.ts";
import { copyImages, startProduction } from "../../test/guest/production.ts";
import { systemClock } from "../base/clock.ts";
import { startMachine } from "./machine.ts";
import { imageNode } from "./machine-arguments.ts";
import type { MachineDefinition } from "./machine-definition.ts";
import { connectQmp } from "./qmp.ts";

const signal = AbortSignal.timeout(170_000);
const bare: MachineDefinition = {
  machineType: "q35",
  cpuCount: 1,
  memoryBytes: 128 * 1024 * 1024,
  disks: [],
};
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-machine-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function startBare(definition: MachineDefinition, nodes = new Map()) {
  const common = { directory, accelerator: "tcg", clock: systemClock(), signal } as const;
  return startMachine({ ...common, name: "bare", definition, nodes });
}

test("a database killed by a power cut comes back with every row it acknowledged", async () => {
  const images = await copyImages(await ensureGuest({ signal }), directory);
  const production = { name: "production", images, directory, signal };
  let newestAcknowledged = 0;
  {
    await using machine = await startProduction(production);
    await waitForDatabase(machine.console, signal);
    using writer = startWriter(machine.console);
    await machine.console.waitForLine(/^COMMITTED 40$/, { timeoutMs: 60_000, signal });
    expect((await machine.kill()).signal).toBe("SIGKILL");
    newestAcknowledged = writer.acknowledgements.at(-1)!.row;
  }
  await using again = await startProduction(production);
  const state = await waitForDatabase(again.console, signal);
  expect(state.newestRow).toBeGreaterThanOrEqual(newestAcknowledged);
  expect(state).toMatchObject({ rows: state.newestRow, damagedRows: 0 });
  expect(state.tickData - state.tickWal).toBeOneOf([0, 1]);
});

test("a machine that starts answers QMP and has no network", async () => {
  await using machine = await startBare(bare);
  await using qmp = await connectQmp({ path: machine.qmpPath, signal });
  expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
  const devices = JSON.stringify(await qmp.execute("query-pci"));
  expect(devices).not.toContain("Ethernet");
  expect(devices).toContain("Host bridge");
});

test("a machine that is asked to quit ends in order and leaves no socket", async () => {
  const machine = await startBare(bare);
  expect(await machine.quit()).toMatchObject({ exitCode: 0 });
  await machine[Symbol.asyncDispose]();
  expect(existsSync(machine.qmpPath)).toBe(false);
});

test("a disk image that is missing fails the start with QEMU's own words", async () => {
  const disk = { name: "data", serial: null, bootIndex: null };
  const nodes = new Map([["data", imageNode(join(directory, "none.qcow2"), "qcow2")]]);
  await expect(startBare({ ...bare, disks: [disk] }, nodes)).rejects.toMatchObject({
    code: "TOOL_FAILED",
    message: expect.stringContaining("No such file or directory"),
  });
});

test("waiting for a line ends with an excerpt when the machine dies", async () => {
  await using machine = await startBare(bare);
  const waiting = machine.console.waitForLine(/never/, { timeoutMs: 60_000, signal });
  const failed = expect(waiting).rejects.toMatchObject({
    code: "GUEST_FAILED",
    message: expect.stringContaining("SIGKILL"),
  });
  await machine.kill();
  await failed;
});

test("machines die with the process that started them, even when it is killed", async () => {
  const script = join(directory, "owner.ts");
  const machineModule = JSON.stringify(join(import.meta.dirname, "machine.ts"));
  const clockModule = JSON.stringify(join(import.meta.dirname, "../base/clock.ts"));
  await writeFile(
    script,
    `import { startMachine } from ${machineModule};
     import { systemClock } from ${clockModule};
     const machine = await startMachine({ name: "orphan", definition: ${JSON.stringify(bare)},
       nodes: new Map(), directory: ${JSON.stringify(directory)}, accelerator: "tcg",
       clock: systemClock(), signal: AbortSignal.timeout(60000) });
     console.log(machine.qmpPath);
     await machine.ended;`,
  );
  const owner = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = await once(owner.stdout, "data", { signal });
  const qmpPath = String(said).trim();
  await using qmp = await connectQmp({ path: qmpPath, signal });
  owner.kill("SIGKILL");
  if (!qmp.closed.aborted) await once(qmp.closed, "abort", { signal });
  expect(qmp.closed.aborted).toBe(true);
});

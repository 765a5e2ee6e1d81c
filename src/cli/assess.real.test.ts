import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { type TestHost, testHost } from "../source/qemu/test-guest.ts";
import { startTestMachine, type TestMachine } from "../source/qemu/test-machine.ts";
import { startCommand } from "./command-for-test.ts";

const disks = [{ name: "data", sizeBytes: 64 * MIB }];

let host: TestHost;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
});
afterEach(() => host[Symbol.asyncDispose]());

async function config(machine: TestMachine): Promise<string> {
  const path = join(host.directory, "afterimage.yaml");
  const text = [
    `vault: ${host.directory}/vault`,
    `scratch: { directory: ${host.scratchDirectory} }`,
    "retention: { pointsMax: 100 }",
    "groups:",
    "  - name: erp",
    "    machines:",
    `      - { name: db, qmp: ${machine.qmpPath}, disks: [{ name: data, node: data }] }`,
  ];
  await writeFile(path, text.join("\n"));
  return path;
}

/** Writes a block here and there until told to stop. */
function writer(machine: TestMachine) {
  let isOver = false;
  const writing = (async () => {
    for (let block = 0; !isOver; block = (block + 1) % 16) {
      await machine.io("data", `write -P 7 ${block * 64}k 64k`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      isOver = true;
      await writing;
    },
  };
}

test("watches a machine that writes to sixteen blocks, and leaves nothing in it", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  const path = await config(machine);
  {
    await using _writing = writer(machine);
    const words = ["assess", path, "--for", "3s", "--every", "1s", "--link", "100Mbit", "--json"];
    const running = startCommand(words);
    expect(await running.exitCode, running.stderr()).toBe(0);
    const { groups } = JSON.parse(running.stdout());
    const [report] = groups;
    expect(report).toMatchObject({ name: "erp", incompleteLooks: 0, removed: [] });
    // The sixteen are all there is, and most of them are written within a second.
    expect(report.group.uniqueBytes).toBe(MIB);
    const second = report.group.stretches.find(({ seconds }: { seconds: number }) => seconds === 1);
    expect(second.mostBytes).toBeLessThanOrEqual(MIB);
    expect(second.mostBytes).toBeGreaterThan(0);
    const [target] = report.targets;
    expect(target).toMatchObject({ targetRpoSeconds: 1, verdict: { kind: expect.any(String) } });
    expect(target.journalBytes).toBeLessThanOrEqual(100 * MIB);
  }
  expect(await machine.bitmaps("data")).toEqual([]);
});

test("interrupted it tells what it saw and leaves nothing", async () => {
  await using machine = await startTestMachine(host, "db", disks);
  const running = startCommand(["assess", await config(machine), "--for", "24h", "--every", "1s"]);
  while ((await machine.bitmaps("data")).length < 4) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  running.interrupt();
  expect(await running.exitCode, running.stderr()).toBe(0);
  expect(running.stdout()).toContain("erp: watched for");
  expect(running.stdout()).toContain("target RPO");
  expect(await machine.bitmaps("data")).toEqual([]);
});

test("a machine that does not run is nothing to watch", async () => {
  const machine = await startTestMachine(host, "db", disks);
  const path = await config(machine);
  await machine.quit();
  const running = startCommand(["assess", path, "--for", "3s"]);
  expect(await running.exitCode).toBe(2);
  expect(running.stderr()).toContain("none of the group's machines runs");
});

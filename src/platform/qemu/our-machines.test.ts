import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseGroupName, parseMachineName } from "../../core/ids.ts";
import { listOurMachines, machineTitle, stopOurMachine } from "./our-machines.ts";

let processes = "";

beforeEach(async () => {
  processes = await mkdtemp(join(tmpdir(), "afterimage-processes-"));
});
afterEach(() => rm(processes, { recursive: true, force: true }));

async function process(id: string, ...words: string[]): Promise<void> {
  await mkdir(join(processes, id));
  await writeFile(join(processes, id, "cmdline"), words.map((word) => `${word}\0`).join(""));
}

test("only QEMUs that bear our mark are ours", async () => {
  const title = machineTitle(parseGroupName("erp")!, parseMachineName("db")!);
  await process("10", "qemu-system-x86_64", "-name", title);
  await process("11", "/usr/bin/qemu-system-x86_64", "-name", "customer-vm");
  await process("12", "/usr/bin/qemu-system-x86_64", "-m", "64");
  await process("13", "vi", "-name", title);
  await process("self", "qemu-system-x86_64", "-name", title);
  await mkdir(join(processes, "14"));
  expect(await listOurMachines(processes)).toEqual([{ title, reference: "10" }]);
});

/** Above the largest process id there can be (Linux, `PID_MAX_LIMIT` is 2^22): nobody is ever killed by this test. */
const nobody = "99999999";

test("a process that meanwhile is another one is left alone", async () => {
  const killed: string[] = [];
  const kill = (id: string) => void killed.push(id);
  await process("15", "qemu-system-x86_64", "-name", "customer-vm");
  await stopOurMachine({ title: "afterimage-erp-db", reference: "15" }, { processes, kill });
  await stopOurMachine({ title: "afterimage-erp-db", reference: "16" }, { processes, kill });
  expect(killed).toEqual([]);
  await process("17", "qemu-system-x86_64", "-name", "afterimage-erp-db");
  await stopOurMachine({ title: "afterimage-erp-db", reference: "17" }, { processes, kill });
  expect(killed).toEqual(["17"]);
});

test("a machine that ends while it is stopped is no error", async () => {
  await process(nobody, "qemu-system-x86_64", "-name", "afterimage-erp-db");
  await stopOurMachine({ title: "afterimage-erp-db", reference: nobody }, { processes });
});

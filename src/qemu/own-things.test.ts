import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { removeOwnThings } from "./own-things.ts";
import { connectQmp, type Qmp } from "./qmp.ts";
import { type ScriptedReply, scriptedQmp } from "./scripted-qmp.ts";

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-own-"));
  path = join(directory, "qmp.sock");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const things = {
  exports: ["e1", "e2"],
  jobs: ["j1"],
  nodes: ["n1"],
  bitmaps: [{ node: "d0", name: "b1" }],
};
const absent = (desc: string): ScriptedReply => ({ error: { class: "GenericError", desc } });

test("exports go first, then jobs, then nodes and bitmaps, each after the ends of those before", async () => {
  await using server = await scriptedQmp(path, (command, qemu) => {
    const { id, device } = command.arguments;
    if (command.execute === "block-export-del") qemu.emit("BLOCK_EXPORT_DELETED", { id });
    if (command.execute === "block-job-cancel") {
      for (const status of ["aborting", "concluded", "null"]) {
        qemu.emit("JOB_STATUS_CHANGE", { id: device, status });
      }
    }
    return { return: {} };
  });
  await using qmp = await connectQmp({ path });
  const steps: string[] = [];
  await removeOwnThings(qmp, things, (step) => void steps.push(step));
  expect(server.commands.map(({ execute }) => execute)).toEqual([
    "block-export-del",
    "block-export-del",
    "block-job-cancel",
    "blockdev-del",
    "block-dirty-bitmap-remove",
  ]);
  expect(steps).toEqual(["exports", "jobs", "nodes"]);
});

test("what is not there is skipped, in QEMU's words from 5.2 on", async () => {
  await using _server = await scriptedQmp(path, (command) => {
    if (command.execute === "block-export-del") return absent("Export 'e1' is not found");
    if (command.execute === "block-job-cancel") {
      return { error: { class: "DeviceNotActive", desc: "Block job 'j1' not found" } };
    }
    if (command.execute === "blockdev-del") {
      return absent("Failed to find node with node-name='n1'");
    }
    return absent("Dirty bitmap 'b1' not found");
  });
  await using qmp = await connectQmp({ path });
  await removeOwnThings(qmp, things);
});

test("a refusal is thrown after everything else was tried", async () => {
  await using server = await scriptedQmp(path, (command, qemu) => {
    const { id, device } = command.arguments;
    if (command.execute === "block-export-del") {
      if (id === "e1") return absent("export 'e1' still in use");
      qemu.emit("BLOCK_EXPORT_DELETED", { id });
    }
    if (command.execute === "block-job-cancel") {
      qemu.emit("JOB_STATUS_CHANGE", { id: device, status: "null" });
    }
    return { return: {} };
  });
  await using qmp = await connectQmp({ path });
  await expect(removeOwnThings(qmp, things)).rejects.toMatchObject({
    code: "QMP_REFUSED",
    details: { command: "block-export-del" },
  });
  expect(server.commands).toHaveLength(5);
});

test("an export that does not end in time keeps no job: the guest's writes are let go of", async () => {
  await using server = await scriptedQmp(path, (command, qemu) => {
    const { id, device } = command.arguments;
    if (command.execute === "block-export-del" && id === "e2") {
      qemu.emit("BLOCK_EXPORT_DELETED", { id });
    }
    if (command.execute === "block-job-cancel") {
      qemu.emit("JOB_STATUS_CHANGE", { id: device, status: "null" });
    }
    return { return: {} };
  });
  await using qmp = await connectQmp({ path });
  const end = { event: "BLOCK_EXPORT_DELETED", data: { id: "e1" }, atMs: 0 };
  const late = new Fault("TIMEOUT", "no answer in time");
  const impatient: Qmp = {
    path,
    greeting: qmp.greeting,
    closed: qmp.closed,
    execute: (command, args, options) => qmp.execute(command, args, options),
    executeAll: (commands, options) => qmp.executeAll(commands, options),
    onEvent: (listener) => qmp.onEvent(listener),
    waitForEvent(predicate, options) {
      if (!predicate(end)) return qmp.waitForEvent(predicate, options);
      const waiting = Promise.reject(late);
      waiting.catch(() => {}); // As the connection's own: it is asked for later.
      return waiting;
    },
    async [Symbol.asyncDispose]() {},
  };
  await expect(removeOwnThings(impatient, things)).rejects.toBe(late);
  expect(server.commands.map(({ execute }) => execute)).toContain("block-job-cancel");
  expect(server.commands).toHaveLength(5);
});

test("a QEMU that goes in between is QMP_CLOSED", async () => {
  await using _server = await scriptedQmp(path, () => "hang-up");
  await using qmp = await connectQmp({ path });
  await expect(removeOwnThings(qmp, things)).rejects.toMatchObject({ code: "QMP_CLOSED" });
});

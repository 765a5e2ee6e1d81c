import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isFault } from "../base/fault.ts";
import { connectQmp } from "./qmp.ts";
import { qmpLineLengthBytesMax } from "./qmp-connection.ts";
import type { QmpCommand } from "./qmp-messages.ts";
import { type ScriptedQmp, scriptedQmp } from "./scripted-qmp.ts";

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-qmp-"));
  path = join(directory, "qmp.sock");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const empty = () => ({ return: {} }) as const;

test("a command's return value comes back, and the greeting is known", async () => {
  await using _server = await scriptedQmp(path, (command) => ({
    return: { echo: command.arguments },
  }));
  await using qmp = await connectQmp({ path });
  expect(qmp.greeting).toEqual({ major: 5, minor: 2, micro: 0, package: "" });
  expect(await qmp.execute("query-x", { a: 1 })).toEqual({ echo: { a: 1 } });
});

test("a burst is one write and its answers keep their order", async () => {
  await using server = await scriptedQmp(path, (command) =>
    command.execute === "bad"
      ? { error: { class: "GenericError", desc: "no" } }
      : { return: command.execute },
  );
  const seen: QmpCommand[] = [];
  await using qmp = await connectQmp({ path, onCommand: (command) => seen.push(command) });
  const commands = ["one", "bad", "two"].map((execute) => ({ execute, arguments: {} }));
  const answers = await qmp.executeAll(commands);
  expect(answers.map((answer) => (answer.ok ? answer.value : answer.fault.code))).toEqual([
    "one",
    "QMP_REFUSED",
    "two",
  ]);
  expect(server.commands.map((command) => command.execute)).toEqual(["one", "bad", "two"]);
  expect(seen.map((command) => command.execute)).toEqual(["qmp_capabilities", "one", "bad", "two"]);
});

test("a refusal carries QEMU's class and words", async () => {
  await using _server = await scriptedQmp(path, () => ({
    error: { class: "DeviceNotFound", desc: "Device 'x' not found" },
  }));
  await using qmp = await connectQmp({ path });
  await expect(qmp.execute("blockdev-del")).rejects.toMatchObject({
    code: "QMP_REFUSED",
    message: "blockdev-del: Device 'x' not found",
    details: { command: "blockdev-del", class: "DeviceNotFound", desc: "Device 'x' not found" },
  });
});

test("an event that comes before the answer of the command that caused it is not lost", async () => {
  await using _server = await scriptedQmp(path, (_command, server) => {
    server.emit("BLOCK_EXPORT_DELETED", { id: "other" });
    server.emit("BLOCK_EXPORT_DELETED", { id: "ours" });
    return { return: {} };
  });
  await using qmp = await connectQmp({ path });
  const heard: unknown[] = [];
  using _listening = qmp.onEvent((event) => heard.push(event.data.id));
  const deleted = qmp.waitForEvent((event) => event.data.id === "ours");
  await qmp.execute("block-export-del");
  expect(await deleted).toEqual({
    event: "BLOCK_EXPORT_DELETED",
    data: { id: "ours" },
    atMs: 1500,
  });
  expect(heard).toEqual(["other", "ours"]);
});

test("a socket that is not there is QMP_MISSING, also when a file of that name is", async () => {
  await expect(connectQmp({ path })).rejects.toMatchObject({ code: "QMP_MISSING" });
  await writeFile(path, "");
  await expect(connectQmp({ path })).rejects.toMatchObject({ code: "QMP_MISSING" });
});

test("a socket held by another client is QMP_BUSY within the bound", async () => {
  await using _server = await scriptedQmp(path, empty, { greeting: null });
  await expect(connectQmp({ path, greetingTimeoutMs: 50 })).rejects.toMatchObject({
    code: "QMP_BUSY",
  });
});

test("a caller that gives up while connecting gets its own reason", async () => {
  await using _server = await scriptedQmp(path, empty, { greeting: null });
  const controller = new AbortController();
  const connecting = connectQmp({ path, signal: controller.signal });
  controller.abort();
  await expect(connecting).rejects.toMatchObject({ code: "ABORTED" });
});

test("pending commands and waits reject with QMP_CLOSED when QEMU goes", async () => {
  await using server = await scriptedQmp(path, () => "silence");
  await using qmp = await connectQmp({ path });
  const waiting = qmp.waitForEvent(() => false);
  const commands = [qmp.execute("a"), qmp.execute("b")];
  server.hangUp();
  for (const outcome of await Promise.allSettled([waiting, ...commands])) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "QMP_CLOSED" } });
  }
  expect(isFault(qmp.closed.reason, "QMP_CLOSED")).toBe(true);
  await expect(qmp.execute("c")).rejects.toMatchObject({ code: "QMP_CLOSED" });
});

test("the late answer to a command that timed out is not taken for another's", async () => {
  const held: { id: number }[] = [];
  await using _server = await scriptedQmp(path, (command, server) => {
    if (command.execute === "slow") {
      held.push({ id: 2 }); // qmp_capabilities was 1.
      return "silence";
    }
    server.send(`${JSON.stringify({ return: "late", id: held[0]?.id })}\n`);
    return { return: "right" };
  });
  await using qmp = await connectQmp({ path });
  await expect(qmp.execute("slow", {}, { timeoutMs: 20 })).rejects.toMatchObject({
    code: "TIMEOUT",
  });
  expect(await qmp.execute("next")).toBe("right");
});

test.each([
  ["words that are not JSON", "hello\n"],
  ["JSON that is no message", '{"x": 1}\n'],
  ["a value that is no object", "7\n"],
  ["an error without a description", '{"error": {"class": "x"}, "id": 2}\n'],
])("%s end the connection with QMP_PROTOCOL", async (_name, raw) => {
  await using _server = await scriptedQmp(path, () => ({ raw }));
  await using qmp = await connectQmp({ path });
  await expect(qmp.execute("a")).rejects.toMatchObject({ code: "QMP_PROTOCOL" });
});

test("a line without end is refused before it fills the memory", async () => {
  const raw = `{"return": "${"x".repeat(qmpLineLengthBytesMax)}`;
  await using _server = await scriptedQmp(path, () => ({ raw }));
  await using qmp = await connectQmp({ path });
  await expect(qmp.execute("a")).rejects.toMatchObject({ code: "QMP_PROTOCOL" });
});

test("a server that greets and hangs up is QMP_CLOSED", async () => {
  await using _server: ScriptedQmp = await scriptedQmp(path, empty, { greeting: null });
  const connecting = connectQmp({ path });
  connecting.catch(() => {});
  while (_server.connections === 0) await new Promise((resolve) => setImmediate(resolve));
  _server.hangUp();
  await expect(connecting).rejects.toMatchObject({ code: "QMP_CLOSED" });
});

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../base/clock.ts";
import { memoryFileSystem } from "../../base/memory-file-system.ts";
import { type DiskName, type MachineName, type PointId, parseGroupName } from "../../core/ids.ts";
import type { Source } from "../../core/source.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import { type ScriptedReply, scriptedQmp } from "../../qemu/scripted-qmp.ts";
import { qemuSource } from "./source.ts";

const group = parseGroupName("erp")!;
const { signal } = new AbortController();
const head = "0000000000000001" as PointId;
const stale = "0000000000000002" as PointId;
const data = "db/data" as DiskName;

let directory: string;
let path: string;
let source: Source;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aft-"));
  path = join(directory, "qmp.sock");
  source = qemuSource({
    group,
    machines: [
      {
        name: "db" as MachineName,
        qmpPath: path,
        disks: [{ name: "data", node: "d0", tracking: "persistent" }],
      },
    ],
    scratch: { directory: "/scratch", capBytes: 1_000_000_000 },
    clock: systemClock(),
    files: memoryFileSystem(),
  });
});
afterEach(async () => {
  await source[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const flags = { recording: true, persistent: true, busy: false, granularity: 65_536, count: 0 };

/** A QEMU with one disk whose bitmaps are these; removing one has the given effect. */
function qemu(
  bitmaps: string[],
  onRemove: (name: string) => ScriptedReply | undefined,
): (command: QmpCommand) => ScriptedReply {
  return ({ execute, arguments: args }) => {
    if (execute === "query-named-block-nodes") {
      const image = { filename: "/d0.qcow2", "virtual-size": 1024 };
      const list = bitmaps.map((name) => ({ name, ...flags }));
      return {
        return: [{ "node-name": "d0", drv: "qcow2", ro: false, image, "dirty-bitmaps": list }],
      };
    }
    if (execute === "block-dirty-bitmap-remove") {
      const said = onRemove(String(args.name));
      if (said !== undefined) return said;
      bitmaps.splice(bitmaps.indexOf(String(args.name)), 1);
      return { return: {} };
    }
    return { return: execute.startsWith("query-") ? [] : {} };
  };
}

const nameOf = (id: PointId) => `afterimage:erp:${id}:1024:db/data`;

test("repair asks, removes what is stale, asks again, and sends nothing else", async () => {
  await using server = await scriptedQmp(
    path,
    qemu([nameOf(head), nameOf(stale), "weekly"], () => undefined),
  );
  const report = await source.repair({ keep: [head], signal });
  expect(report).toEqual({
    disks: [{ disk: { name: data, sizeBytes: 1024 }, state: "tracked", since: head, kept: [head] }],
    removed: [`db: bitmap ${nameOf(stale)} of node d0`],
  });
  expect(server.commands.map(({ execute }) => execute)).toEqual([
    ...["query-block-exports", "query-jobs", "query-named-block-nodes"],
    ...["query-named-block-nodes", "query-block", "query-iothreads"],
    "block-dirty-bitmap-remove",
    ...["query-named-block-nodes", "query-block", "query-iothreads"],
  ]);
});

test("a bitmap that QEMU says it removed and did not is not believed gone", async () => {
  await using _server = await scriptedQmp(
    path,
    qemu([nameOf(head), nameOf(stale)], () => ({ return: {} })),
  );
  await expect(source.repair({ keep: [head], signal })).rejects.toMatchObject({
    code: "QMP_REFUSED",
    message: expect.stringContaining("still there") as string,
  });
});

test("tracking adds one bitmap with the disk's size in its name", async () => {
  const bitmaps: string[] = [];
  await using server = await scriptedQmp(
    path,
    qemu(bitmaps, () => undefined),
  );
  await source.track([data], head, { signal });
  const transactions = server.commands.filter(({ execute }) => execute === "transaction");
  expect(transactions).toEqual([
    {
      execute: "transaction",
      arguments: {
        actions: [
          {
            type: "block-dirty-bitmap-add",
            data: { node: "d0", name: nameOf(head), granularity: 65_536, persistent: true },
          },
        ],
      },
    },
  ]);
  bitmaps.push(nameOf(head));
  await source.track([data], head, { signal });
  expect(server.commands.filter(({ execute }) => execute === "transaction")).toHaveLength(1);
});

test("a QMP socket that is missing says so, and works once the machine is there", async () => {
  await expect(source.repair({ keep: [], signal })).rejects.toMatchObject({ code: "QMP_MISSING" });
  await using _server = await scriptedQmp(
    path,
    qemu([], () => undefined),
  );
  expect((await source.repair({ keep: [], signal })).disks).toHaveLength(1);
});

test("a QMP connection that closes in the middle is QMP_CLOSED, and the next call connects anew", async () => {
  let closes = 1;
  const answer = qemu([], () => undefined);
  await using server = await scriptedQmp(path, (command) => {
    if (command.execute === "query-jobs" && closes-- > 0) return "hang-up";
    return answer(command);
  });
  await expect(source.repair({ keep: [], signal })).rejects.toMatchObject({ code: "QMP_CLOSED" });
  expect((await source.repair({ keep: [], signal })).disks).toHaveLength(1);
  expect(server.connections).toBe(1);
});

test("a connection kept from before that has ended is made anew without a word", async () => {
  let closes = 0;
  const answer = qemu([], () => undefined);
  await using _server = await scriptedQmp(path, (command) => {
    if (command.execute === "query-jobs" && closes-- > 0) return "hang-up";
    return answer(command);
  });
  await source.repair({ keep: [], signal });
  closes = 1;
  expect((await source.repair({ keep: [], signal })).disks).toHaveLength(1);
});

test("an answer that no QEMU gives is QMP_PROTOCOL", async () => {
  await using _server = await scriptedQmp(path, () => ({ return: { what: "?" } }));
  await expect(source.repair({ keep: [], signal })).rejects.toMatchObject({
    code: "QMP_PROTOCOL",
  });
});

test("a call that is stopped while QEMU is silent ends at once", async () => {
  const controller = new AbortController();
  await using _server = await scriptedQmp(path, () => {
    controller.abort();
    return "silence";
  });
  const repairing = source.repair({ keep: [], signal: controller.signal });
  await expect(repairing).rejects.toMatchObject({ code: "ABORTED" });
});

test("a freeze without its bitmap names the disk and sends no transaction", async () => {
  await using server = await scriptedQmp(
    path,
    qemu([nameOf(stale)], () => undefined),
  );
  const since = new Map([[data, head]]);
  await expect(source.freeze({ id: stale, since, signal })).rejects.toMatchObject({
    code: "BITMAP_LOST",
    details: { disk: data },
  });
  expect(server.commands.map(({ execute }) => execute)).not.toContain("transaction");
});

test("a scratch directory too long for a socket is refused before anything is asked", async () => {
  await using _server = await scriptedQmp(
    path,
    qemu([], () => undefined),
  );
  await using long = qemuSource({
    group,
    machines: [{ name: "db" as MachineName, qmpPath: path, disks: [] }],
    scratch: { directory: `/${"x".repeat(90)}`, capBytes: 1_000_000 },
    clock: systemClock(),
    files: memoryFileSystem(),
  });
  await expect(long.repair({ keep: [], signal })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});

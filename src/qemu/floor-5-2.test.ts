import { expect, test } from "vitest";
import * as commands from "./commands.ts";
import { beyondFloor } from "./floor-5-2.ts";

const scratch = { fleeceNode: "f", scratchNode: "s", path: "/x", backing: "data" };
const copy = { job: "j", node: "data", target: "f", filterNode: "c" };
const everything = {
  queryNodes: commands.queryNodes(),
  queryDrives: commands.queryDrives(),
  queryBlockStats: commands.queryBlockStats(),
  queryExports: commands.queryExports(),
  queryJobs: commands.queryJobs(),
  queryStatus: commands.queryStatus(),
  queryMemory: commands.queryMemory(),
  queryCpus: commands.queryCpus(),
  queryIothreads: commands.queryIothreads(),
  getProperty: commands.getProperty("/machine", "type"),
  addFleece: commands.addFleece(scratch),
  addImage: commands.addImage({ node: "data", path: "/x", format: "raw" }),
  deleteNode: commands.deleteNode("f"),
  setWriteThreshold: commands.setWriteThreshold("s", 65_536),
  transaction: commands.transaction([
    commands.addRecordingBitmap("data", "n", true),
    commands.addFrozenBitmap("data", "f"),
    commands.mergeBitmap("data", "h", "f"),
    commands.startCopyBeforeWrite(copy),
  ]),
  addRecordingBitmap: commands.transaction([commands.addRecordingBitmap("data", "n", false)]),
  addFrozenBitmap: commands.transaction([commands.addFrozenBitmap("data", "f")]),
  mergeBitmap: commands.transaction([commands.mergeBitmap("data", "h", "f")]),
  clearBitmap: commands.transaction([commands.clearBitmap("data", "h")]),
  startCopyBeforeWrite: commands.transaction([commands.startCopyBeforeWrite(copy)]),
  removeBitmap: commands.removeBitmap("data", "h"),
  cancelJob: commands.cancelJob("j"),
  startNbdServer: commands.startNbdServer("/x"),
  startTlsNbdServer: commands.startTlsNbdServer({ host: "::", port: 10_809, credentials: "t" }),
  addTlsCredentials: commands.addTlsCredentials("t", "/tls"),
  deleteObject: commands.deleteObject("t"),
  listObjects: commands.listObjects(),
  stopNbdServer: commands.stopNbdServer(),
  addExport: commands.addExport("f", "e", ["f"]),
  deleteExport: commands.deleteExport("e"),
  stopMachine: commands.stopMachine(),
  continueMachine: commands.continueMachine(),
  quit: commands.quit(),
};

test("every command we can build is one that QEMU 5.2 documents", () => {
  for (const [name, command] of Object.entries(everything)) {
    expect(beyondFloor(command), name).toBeNull();
  }
});

test("no command builder is missing from this test", () => {
  const builders = Object.keys(commands).sort();
  expect(Object.keys(everything).sort()).toEqual(builders);
});

test("forms that came after QEMU 5.2 are told apart", () => {
  const exported = everything.addExport;
  const newer = { ...exported.arguments, bitmaps: [{ node: "data", name: "f" }] };
  expect(beyondFloor({ ...exported, arguments: newer })).toContain("bitmaps");
  const snapshot = { driver: "snapshot-access", file: "c" };
  expect(beyondFloor({ execute: "blockdev-add", arguments: snapshot })).toContain("driver");
  const data = { ...copy, sync: "none", "on-cbw-error": "break-snapshot" };
  const actions = [{ type: "blockdev-backup", data }];
  expect(beyondFloor({ execute: "transaction", arguments: { actions } })).toContain("actions.0");
  expect(beyondFloor({ execute: "query-block-flags", arguments: {} })).toContain("not on the list");
});

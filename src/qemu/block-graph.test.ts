import { expect, test } from "vitest";
import { parseDrives, parseIds, parseNodes } from "./block-graph.ts";

const node = {
  "node-name": "d0",
  drv: "qcow2",
  ro: false,
  image: { filename: "/d0.qcow2", "virtual-size": 1024, format: "qcow2" },
  "dirty-bitmaps": [
    { recording: false, persistent: false, busy: false, granularity: 65_536, count: 0 },
    {
      name: "x",
      recording: false,
      persistent: true,
      inconsistent: true,
      busy: false,
      granularity: 65_536,
      count: 0,
    },
  ],
  iops: 0,
};

test("nodes are read with their named bitmaps, without a running job's nameless one", () => {
  expect(parseNodes([node, { ...node, "dirty-bitmaps": undefined }])).toMatchObject([
    {
      name: "d0",
      driver: "qcow2",
      sizeBytes: 1024,
      bitmaps: [{ name: "x", isInconsistent: true, isRecording: false, isPersistent: true }],
    },
    { bitmaps: [] },
  ]);
});

test("drives are read with or without medium, device and drive", () => {
  const drives = [
    { device: "", qdev: "/machine/peripheral/v0", inserted: { "node-name": "d0" } },
    { device: "cd0", qdev: "ide0-cd0" },
  ];
  expect(parseDrives(drives)).toEqual([
    { drive: "", device: "/machine/peripheral/v0", node: "d0" },
    { drive: "cd0", device: "ide0-cd0", node: null },
  ]);
});

test.each([
  null,
  {},
  [{ ...node, image: {} }],
  [{ ...node, "dirty-bitmaps": [{ name: "x" }] }],
  [{ ...node, image: { filename: "", "virtual-size": -1 } }],
])("an answer that QEMU does not document is QMP_PROTOCOL (%#)", (answer) => {
  expect(() => parseNodes(answer)).toThrow(
    expect.objectContaining({ code: "QMP_PROTOCOL" }) as Error,
  );
});

test("ids are read of exports and jobs alike", () => {
  expect(parseIds([{ id: "a", type: "nbd" }, { id: "b" }])).toEqual(["a", "b"]);
  expect(() => parseIds([{}])).toThrow();
});

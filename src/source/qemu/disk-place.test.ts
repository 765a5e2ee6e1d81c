import { expect, test } from "vitest";
import { type MachineName, parseGroupName } from "../../core/ids.ts";
import type { BlockGraphNode, GuestDrive } from "../../qemu/block-graph.ts";
import { ownNames } from "../../qemu/own-names.ts";
import { placeDisks } from "./disk-place.ts";
import type { QemuDiskSettings } from "./settings.ts";

const group = parseGroupName("erp")!;

function node(name: string, more: Partial<BlockGraphNode> = {}): BlockGraphNode {
  return {
    name,
    driver: "qcow2",
    sizeBytes: 1024,
    filename: "/data.qcow2",
    isReadOnly: false,
    bitmaps: [],
    ...more,
  };
}

const nodes = [node("#block1", { driver: "file" }), node("format"), node("other")];
const drives = [
  { drive: "drive0", device: "/machine/peripheral/v0/virtio-backend", node: "format" },
];

interface Graph {
  readonly nodes: readonly BlockGraphNode[];
  readonly drives: readonly GuestDrive[];
}

function place(disk: Partial<QemuDiskSettings>, more: Partial<Graph> = {}) {
  const settings = { name: "data", tracking: "persistent" as const, ...disk };
  const machine = { name: "db" as MachineName, qmpPath: null, disks: [settings] };
  return placeDisks(group, machine, { nodes, drives, ...more })[0]?.node;
}

test.each([
  [{ device: "v0" }, "format"],
  [{ device: "/machine/peripheral/v0" }, "format"],
  [{ device: "/machine/peripheral/v0/virtio-backend" }, "format"],
  [{ drive: "drive0" }, "format"],
  [{ image: "/data.qcow2" }, "format"],
  [{ node: "format", image: "/elsewhere" }, "format"],
])("a disk is found by %j", (disk, expected) => {
  expect(place(disk)).toBe(expected);
});

test("an image without a drive is the format layer's, not the file's beneath it", () => {
  expect(
    place(
      { image: "/x" },
      {
        drives: [],
        nodes: [node("#f", { driver: "file", filename: "/x" }), node("q", { filename: "/x" })],
      },
    ),
  ).toBe("q");
});

test("a filter of ours that stands where the disk was is not taken for it", () => {
  const filter = ownNames(group, "db/data" as never).filterNode;
  const stale = [node(filter, { driver: "copy-before-write" }), ...nodes];
  expect(place({ image: "/data.qcow2" }, { nodes: stale })).toBe("format");
});

test("a disk is found by its device while a filter of ours is the top of the drive", () => {
  const filter = ownNames(group, "db/data" as never).filterNode;
  const stale = [node(filter, { driver: "copy-before-write" }), ...nodes];
  const open = [{ ...drives[0]!, node: filter }];
  expect(place({ device: "v0" }, { nodes: stale, drives: open })).toBe("format");
  expect(place({ node: "format" }, { nodes: stale, drives: open })).toBe("format");
});

test("a node beneath another tool's filter is the disk, one beneath a new overlay is not", () => {
  const top = (more: Partial<BlockGraphNode>) => ({
    nodes: [node("top", more), ...nodes],
    drives: [{ ...drives[0]!, node: "top" }],
  });
  expect(place({ node: "format" }, top({ driver: "throttle" }))).toBe("format");
  expect(() => place({ node: "format" }, top({ filename: "/snapshot.qcow2" }))).toThrow(
    expect.objectContaining({ code: "DISK_MISSING" }) as Error,
  );
});

test.each([
  ["DISK_MISSING", { node: "n" }, { isReadOnly: true }],
  ["DISK_MISSING", { node: "none" }, {}],
  ["DISK_MISSING", { device: "v1" }, {}],
  ["DISK_UNSUPPORTED", { node: "n" }, { driver: "raw" }],
  ["DISK_UNSUPPORTED", { node: "n" }, { sizeBytes: 0 }],
  ["DISK_UNSUPPORTED", { node: "n" }, { sizeBytes: 1000 }],
] as const)("%s: %j %j", (code, disk, more) => {
  const placing = () => place(disk, { nodes: [node("n", more)], drives: [] });
  expect(placing).toThrow(
    expect.objectContaining({
      code,
      details: expect.objectContaining({ disk: "db/data" }) as unknown,
    }) as Error,
  );
});

test("a raw disk is taken when its tracking may end with QEMU", () => {
  expect(
    place(
      { node: "n", tracking: "transient" },
      { nodes: [node("n", { driver: "raw" })], drives: [] },
    ),
  ).toBe("n");
});

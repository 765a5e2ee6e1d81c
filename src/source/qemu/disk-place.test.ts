import { expect, test } from "vitest";
import { type MachineName, parseGroupName } from "../../core/ids.ts";
import type { BlockGraphNode } from "../../qemu/block-graph.ts";
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

function place(disk: Partial<QemuDiskSettings>, more: { readonly nodes?: typeof nodes } = {}) {
  const settings = { name: "data", tracking: "persistent" as const, ...disk };
  const machine = { name: "db" as MachineName, qmpPath: null, disks: [settings] };
  return placeDisks(group, machine, { nodes: more.nodes ?? nodes, drives })[0]?.node;
}

test.each([
  [{ node: "other" }, "other"],
  [{ device: "v0" }, "format"],
  [{ device: "/machine/peripheral/v0" }, "format"],
  [{ device: "/machine/peripheral/v0/virtio-backend" }, "format"],
  [{ drive: "drive0" }, "format"],
  [{ image: "/data.qcow2" }, "format"],
  [{ node: "other", image: "/elsewhere" }, "other"],
])("a disk is found by %j", (disk, expected) => {
  expect(place(disk)).toBe(expected);
});

test("an image without a drive is the format layer's, not the file's beneath it", () => {
  expect(
    place(
      { image: "/x" },
      { nodes: [node("#f", { driver: "file", filename: "/x" }), node("q", { filename: "/x" })] },
    ),
  ).toBe("q");
});

test("a filter of ours that stands where the disk was is not taken for it", () => {
  const filter = ownNames(group, "db/data" as never).filterNode;
  const stale = [node(filter, { driver: "copy-before-write" }), ...nodes];
  expect(place({ image: "/data.qcow2" }, { nodes: stale })).toBe("format");
});

test.each([
  ["DISK_MISSING", { node: "none" }, {}],
  ["DISK_MISSING", { device: "v1" }, {}],
  ["DISK_UNSUPPORTED", { node: "n" }, { driver: "raw" }],
  ["DISK_UNSUPPORTED", { node: "n" }, { sizeBytes: 0 }],
  ["DISK_UNSUPPORTED", { node: "n" }, { sizeBytes: 1000 }],
] as const)("%s: %j %j", (code, disk, more) => {
  const placing = () => place(disk, { nodes: [node("n", more)] });
  expect(placing).toThrow(
    expect.objectContaining({
      code,
      details: expect.objectContaining({ disk: "db/data" }) as unknown,
    }) as Error,
  );
});

test("a raw disk is taken when its tracking may end with QEMU", () => {
  expect(
    place({ node: "n", tracking: "transient" }, { nodes: [node("n", { driver: "raw" })] }),
  ).toBe("n");
});

import { expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { imageNode, machineArguments } from "./machine-arguments.ts";
import { type MachineDefinition, machineDefinitionSchema } from "./machine-definition.ts";

const definition: MachineDefinition = {
  machineType: "pc-q35-7.2",
  cpuCount: 2,
  memoryBytes: 256 * MIB,
  disks: [
    { name: "root", serial: null, bootIndex: 0 },
    { name: "data", serial: "data-1", bootIndex: null },
  ],
};
const nodes = new Map([
  ["root", imageNode("/images/a,b.qcow2", "qcow2")],
  ["data", { ...imageNode("/images/data.raw", "raw"), "node-name": "other" }],
]);

function argumentsOf(changes: Partial<Parameters<typeof machineArguments>[0]> = {}) {
  return machineArguments({
    title: "erp",
    definition,
    nodes,
    qmpPath: "/run/erp.qmp",
    controlPath: "/run/erp.control",
    accelerator: "tcg",
    ...changes,
  });
}

/** What follows each occurrence of an option. */
function valuesOf(words: readonly string[], option: string): readonly string[] {
  return words.flatMap((word, index) => (word === option ? [words[index + 1] ?? ""] : []));
}

test("a machine has its disks in order, its boot order, and no network", () => {
  const words = argumentsOf();
  expect(valuesOf(words, "-device")).toEqual([
    "virtio-blk-pci,drive=root,id=disk-root,bootindex=0",
    "virtio-blk-pci,drive=other,id=disk-data,serial=data-1",
  ]);
  expect(valuesOf(words, "-blockdev").map((text) => JSON.parse(text))).toMatchObject([
    { "node-name": "root", file: { filename: "/images/a,b.qcow2" } },
    { "node-name": "other", driver: "raw" },
  ]);
  expect(valuesOf(words, "-nic")).toEqual(["none"]);
  expect(words.join(" ")).not.toMatch(/netdev|-net /);
});

test("a comma in a path or title is not read as an option", () => {
  const words = argumentsOf({ title: "a,debug-threads=on", qmpPath: "/run/a,server=off" });
  expect(valuesOf(words, "-name")).toEqual(["a,,debug-threads=on"]);
  expect(valuesOf(words, "-qmp")[0]).toBe("unix:/run/a,,server=off,server=on,wait=off");
});

test.each([
  { machineType: "q35,kernel=/etc/shadow" },
  { machineType: "-S" },
  { cpuCount: 0 },
  { cpuCount: 1e9 },
  { memoryBytes: 1 },
  { disks: [{ name: "a,readonly=on", serial: null, bootIndex: null }] },
  { disks: [{ name: "a", serial: "x,drive=host", bootIndex: null }] },
  { disks: [{ name: "a", serial: "longer-than-20-characters", bootIndex: null }] },
  { disks: Array(25).fill({ name: "a", serial: null, bootIndex: null }) },
  { kernel: "/boot/vmlinuz" },
])("a description from a vault with %j is refused", (change) => {
  expect(machineDefinitionSchema.safeParse(definition).success).toBe(true);
  expect(machineDefinitionSchema.safeParse({ ...definition, ...change }).success).toBe(false);
});

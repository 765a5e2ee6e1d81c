import { expect, test } from "vitest";
import { type DiskName, type MachineName, parseGroupName } from "../core/ids.ts";
import { nodeNameLengthMax, ownNames, ownPrefix, ownSocketFile } from "./own-names.ts";

const group = parseGroupName("a".repeat(63))!;
const disk = `${"m".repeat(63)}/${"d".repeat(63)}` as DiskName;

test("the longest names of group and disk still fit QEMU's node names", () => {
  const names = Object.values(ownNames(group, disk));
  const nodes = names.filter((name) => !name.endsWith(".qcow2"));
  for (const name of nodes) {
    expect(name.length).toBeLessThanOrEqual(nodeNameLengthMax);
    expect(name).toMatch(/^[a-z][a-z0-9-]*$/);
  }
  expect(new Set(names).size).toBe(names.length);
});

test("everything of a group begins alike, and with no other group's prefix", () => {
  const other = parseGroupName("b")!;
  const all = [...Object.values(ownNames(group, disk)), ownSocketFile(group, "m" as MachineName)];
  expect(all.every((name) => name.startsWith(ownPrefix(group)))).toBe(true);
  expect(all.some((name) => name.startsWith(ownPrefix(other)))).toBe(false);
});

test("a disk has the same names in every life of ours", () => {
  expect(ownNames(parseGroupName("erp")!, "db/data" as DiskName)).toEqual({
    fleeceNode: "afterimage-br7ddiez-jynyny6h-f",
    scratchNode: "afterimage-br7ddiez-jynyny6h-s",
    filterNode: "afterimage-br7ddiez-jynyny6h-w",
    job: "afterimage-br7ddiez-jynyny6h-j",
    pointExport: "afterimage-br7ddiez-jynyny6h-p",
    liveExport: "afterimage-br7ddiez-jynyny6h-l",
    scratchFile: "afterimage-br7ddiez-jynyny6h-f.qcow2",
  });
});

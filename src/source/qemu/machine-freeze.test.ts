import { expect, test } from "vitest";
import { type DiskName, type PointId, parseGroupName } from "../../core/ids.ts";
import type { TransactionAction } from "../../qemu/commands.ts";
import { MachineFreeze, planFreeze } from "./machine-freeze.ts";
import type { Hold } from "./sessions.ts";

const group = parseGroupName("erp")!;
const head = "0000000000000001" as PointId;
const id = "0000000000000002" as PointId;
const names = ["db/data", "db/wal"] as DiskName[];

/** The actions of the transaction that freezes two disks. */
function actionsOf(scratch: { path: string; thresholdBytes: null } | null) {
  const flags = { isRecording: true, isPersistent: true, isInconsistent: false, isBusy: false };
  const disks = names.map((name) => {
    const more = { granularityBytes: 65_536, dirtyBytes: 0 };
    const bitmaps = [{ name: `afterimage:erp:${head}:1024:${name}`, ...flags, ...more }];
    return { name, node: name, device: "", sizeBytes: 1024, isPersistent: true, bitmaps };
  });
  const since = new Map(names.map((name) => [name, head]));
  const planned = planFreeze({ group, id, since, disks }).map((disk) => ({ ...disk, scratch }));
  const freeze = new MachineFreeze({} as Hold, planned);
  return freeze.transact().arguments.actions as readonly TransactionAction[];
}

// QEMU lets writes that are under way end when it prepares the copy of a disk, and holds the disk still from then on. A write
// that ends then is in the copy; were the bitmap read before, the point would lack it and could have one that came after it on
// another disk.
test("no bitmap is read while writes of any disk may still end", () => {
  const types = actionsOf({ path: "/scratch/f", thresholdBytes: null }).map(({ type }) => type);
  const lastCopy = types.lastIndexOf("blockdev-backup");
  expect(types.filter((type) => type === "blockdev-backup")).toHaveLength(2);
  expect(types.indexOf("block-dirty-bitmap-merge")).toBeGreaterThan(lastCopy);
});

test("what ends while the disks are brought to a stop is recorded for the next point too", () => {
  const actions = actionsOf({ path: "/scratch/f", thresholdBytes: null });
  const firstCopy = actions.findIndex(({ type }) => type === "blockdev-backup");
  const recording = actions.flatMap(({ type, data }, place) =>
    type === "block-dirty-bitmap-add" && data.disabled !== true ? [place] : [],
  );
  expect(recording).toHaveLength(2);
  for (const place of recording) expect(place).toBeLessThan(firstCopy);
});

test("a stopped machine's disks are frozen by bitmaps alone", () => {
  const types = actionsOf(null).map(({ type }) => type);
  expect(types.filter((type) => type === "block-dirty-bitmap-merge")).toHaveLength(2);
  expect(types).not.toContain("blockdev-backup");
});

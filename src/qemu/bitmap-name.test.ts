import { expect, test } from "vitest";
import { parseDiskName, parseGroupName, parsePointId } from "../core/ids.ts";
import { frozenBitmapName, parseBitmapName, recordingBitmapName } from "./bitmap-name.ts";

const group = parseGroupName("erp.eu-1")!;
const id = parsePointId("0123456789abcdef")!;

test("names of ours are read back as they were made", () => {
  const disk = { name: parseDiskName("db/data")!, sizeBytes: 21_474_836_480 };
  const recording = recordingBitmapName(group, id, disk);
  expect(recording).toBe("afterimage:erp.eu-1:0123456789abcdef:21474836480:db/data");
  const { name, sizeBytes } = disk;
  expect(parseBitmapName(recording)).toEqual({ group, id, sizeBytes, disk: name });
  expect(parseBitmapName(frozenBitmapName(group, id))).toEqual({ group, id, sizeBytes: "frozen" });
});

test("a recording bitmap whose name has no disk is ours, and no disk's", () => {
  for (const text of [
    "afterimage:erp.eu-1:0123456789abcdef:512",
    "afterimage:erp.eu-1:0123456789abcdef:512:x",
  ]) {
    expect(parseBitmapName(text)).toEqual({ group, id, sizeBytes: 512, disk: null });
  }
});

test.each([
  "",
  "backup-1",
  "afterimage",
  "afterimage:erp",
  "afterimage:erp:0123456789abcdef",
  "afterimage:erp:0123456789abcdef:",
  "afterimage:erp:0123456789abcdef:0",
  "afterimage:erp:0123456789abcdef:-5",
  "afterimage:erp:0123456789abcdef:1e9",
  "afterimage:erp:0123456789abcdef:99999999999999999999",
  "afterimage:erp:0123456789ABCDEF:512",
  "afterimage:erp:0123456789abcdef:frozen:x",
  "afterimage:erp:0123456789abcdef:512:db/data:x",
  "afterimage:-erp:0123456789abcdef:512",
  "Afterimage:erp:0123456789abcdef:512",
])("%j is not one of ours", (name) => {
  expect(parseBitmapName(name)).toBeNull();
});

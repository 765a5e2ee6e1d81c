import { expect, it } from "vitest";
import { seededPrng } from "../base/prng.ts";
import {
  drawPointId,
  machineOf,
  parseDiskName,
  parseGroupName,
  parseMachineName,
  parsePointId,
} from "./ids.ts";

it.each(["", ".hidden", "-x", "a/b", "a b", "x".repeat(64), "ü"])(
  "refuses %j as a name",
  (text) => {
    expect(parseGroupName(text)).toBeNull();
    expect(parseMachineName(text)).toBeNull();
  },
);

it("takes names a file system takes", () => {
  expect(parseGroupName("erp-1.prod_A")).toBe("erp-1.prod_A");
  expect(parseDiskName("db/wal")).toBe("db/wal");
  expect(machineOf(parseDiskName("db/wal")!)).toBe("db");
  for (const text of ["db", "a/b/c", "/x", "x/"]) expect(parseDiskName(text)).toBeNull();
});

it("draws ids it would parse", () => {
  expect(parsePointId(drawPointId(seededPrng(1)))).not.toBeNull();
  expect(parsePointId("00")).toBeNull();
  expect(parsePointId("ABCDEF0123456789")).toBeNull();
});

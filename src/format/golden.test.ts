import { describe, expect, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import type { PointHeader } from "../core/point.ts";
import { bytesOf, deltaForTest, putBytes } from "../delta/files-for-test.ts";
import { openDelta } from "../delta/reader.ts";
import { verifyDelta } from "../delta/verify.ts";
import { goldenBytes, goldenContent, goldenHeader, goldenLedger } from "./golden-for-test.ts";
import { decodeLedger } from "./ledger.ts";

const { signal } = new AbortController();
const header = goldenHeader as PointHeader;
/** Of both golden deltas. Changing it means that every delta ever written is unreadable. */
const contentRoot = "723be5e48af3d2fc440b630a38fdba6a959d1484a53fe2155ca76779ec363c4d";

describe("golden", () => {
  test("a raw delta is written to the byte", async () => {
    const files = memoryFileSystem();
    await deltaForTest(files, "/a", { header, codec: "raw", content: goldenContent });
    expect((await bytesOf(files, "/a")).toString("hex")).toBe(
      goldenBytes("delta-raw").toString("hex"),
    );
  });

  test.each(["delta-raw", "delta-zstd"])(
    "%s is read, and has the root it always had",
    async (name) => {
      const files = memoryFileSystem();
      await putBytes(files, "/a", goldenBytes(name));
      await using reader = await openDelta({ files, path: "/a" });
      expect(reader.contentRoot).toBe(contentRoot);
      expect(reader.header).toEqual(goldenHeader);
      expect((await verifyDelta(reader, { signal })).faults).toEqual([]);
      const { index } = reader;
      const extents = Array.from({ length: index.entryCount }, (_, entry) => {
        const kind = index.isZero(entry) ? "zero" : index.codec(entry);
        return `${kind}: ${index.describe(entry)}`;
      });
      const codec = name === "delta-zstd" ? "zstd" : "raw";
      expect(extents).toEqual([
        "zero: disk 0, 1099511623680+4096",
        "zero: disk 0, 1099511627776+4096",
        `${codec}: disk 0, 3298534948352+1536`,
        "raw: disk 1, 512+1024",
        "zero: disk 1, 1048576+1048576",
        "raw: disk 2, 0+512",
      ]);
      for (const { disk, offsetBytes, data, lengthBytes } of goldenContent) {
        if (data === null) continue;
        const into = new Uint8Array(lengthBytes);
        await reader.readChunk(index.seek(disk, offsetBytes), into);
        expect(Buffer.compare(into, data)).toBe(0);
      }
    },
  );

  test("a ledger is written to the byte, and read", () => {
    const bytes = goldenBytes("ledger");
    expect(goldenLedger().toString("hex")).toBe(bytes.toString("hex"));
    const { records, tail } = decodeLedger(bytes);
    expect(tail).toEqual({ state: "clean" });
    expect(records.map((record) => record.entry.kind)).toEqual([
      "group-created",
      "point-sealed",
      "points-retired",
    ]);
  });
});

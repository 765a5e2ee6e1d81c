import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { goldenBytes, goldenContent, goldenHeader } from "../../src/format/golden-for-test.ts";
import { decodeLedger } from "../../src/format/ledger.ts";

const run = promisify(execFile);
const reader = join(import.meta.dirname, "read_delta.py");
const hasPython = spawnSync("python3", ["--version"]).status === 0;

async function readByPython(kind: "delta" | "ledger", bytes: Uint8Array): Promise<unknown> {
  const directory = await mkdtemp(join(tmpdir(), "afterimage-format-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
  const path = join(directory, "file");
  await writeFile(path, bytes);
  return JSON.parse((await run("python3", [reader, kind, path])).stdout);
}

describe.skipIf(!hasPython)("a reader written from the documents alone", () => {
  test("reads the golden raw delta and finds the same bytes", async () => {
    const read = (await readByPython("delta", goldenBytes("delta-raw"))) as {
      header: unknown;
      extents: [number, number, number, string, string | null][];
    };
    expect(read.header).toEqual(goldenHeader);
    for (const { disk, offsetBytes, lengthBytes, data } of goldenContent) {
      if (data === null) continue;
      const hash = createHash("sha256").update(data).digest("hex");
      expect(read.extents).toContainEqual([disk, offsetBytes, lengthBytes, "raw", hash]);
    }
  });

  test("gives raw and compressed the same root", async () => {
    const read = await Promise.all(
      ["delta-raw", "delta-zstd"].map((name) => readByPython("delta", goldenBytes(name))),
    );
    const [raw, zstd] = read as { contentRoot: string }[];
    expect(zstd?.contentRoot).toBe(raw?.contentRoot);
  });

  test("refuses a file with one bit flipped in any part", async () => {
    const good = goldenBytes("delta-raw");
    for (const at of [9, 70, 1500, 3800, good.length - 300, good.length - 100]) {
      const bytes = Buffer.from(good);
      bytes[at] = bytes[at]! ^ 16;
      await expect(readByPython("delta", bytes), `byte ${at}`).rejects.toThrow(/corrupt/);
    }
  });

  test("reads the golden ledger to the same head", async () => {
    const bytes = goldenBytes("ledger");
    const { records } = decodeLedger(bytes);
    expect(await readByPython("ledger", bytes)).toMatchObject({ head: records.at(-1)?.hash });
  });
});

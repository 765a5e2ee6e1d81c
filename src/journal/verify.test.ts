import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { FileSystem } from "../base/file-system.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { viewOf } from "../format/bytes.ts";
import { trailerLengthBytes } from "../format/delta-limits.ts";
import { type TestDisk, TestHistory } from "./history-for-test.ts";
import { memoryVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;

/** Six points; point n writes block n of the first disk, and point 5 also what point 3 wrote. The second disk comes at point 4. */
async function sixPoints() {
  const vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  const data = history.addDisk("db/data", 10 * blockSizeBytes);
  history.write(data, 0, 10 * blockSizeBytes);
  let late: TestDisk | null = null;
  for (let sequence = 1; sequence <= 6; sequence += 1) {
    if (sequence === 4) late = history.addDisk("db/late", 2 * blockSizeBytes);
    history.write(data, sequence * blockSizeBytes, blockSizeBytes);
    if (sequence === 5) history.write(data, 3 * blockSizeBytes, blockSizeBytes);
    await history.seal(journal);
  }
  await journal.indexCache.settled();
  const pathOf = (sequence: number) => {
    const delta = journal.group.state.deltas().find((one) => one.sequence === sequence);
    return `${vault.layout.deltas}/${delta?.file}`;
  };
  return { vault, journal, history, data, late, pathOf };
}

async function content(files: FileSystem, path: string): Promise<Buffer> {
  await using file = await files.open(path, "read");
  const bytes = Buffer.alloc(await file.sizeBytes());
  await file.read(bytes, 0);
  return bytes;
}

async function replace(files: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  await files.remove(path);
  await using file = await files.open(path, "create");
  await file.write(bytes, 0);
}

async function change(files: FileSystem, path: string, how: (bytes: Buffer) => Uint8Array) {
  const bytes = await content(files, path);
  await replace(files, path, how(bytes));
}

const flip = (bytes: Buffer, at: number) => {
  bytes[at < 0 ? bytes.length + at : at]! ^= 0x10;
  return bytes;
};

/** In a file of one data extent: prologue and header, chunk, index, trailer. */
const damages: readonly (readonly [string, (bytes: Buffer) => Uint8Array])[] = [
  ["bit-flipped in the header", (bytes) => flip(bytes, 80)],
  ["bit-flipped in the prologue", (bytes) => flip(bytes, 9)],
  ["bit-flipped in the index", (bytes) => flip(bytes, -trailerLengthBytes - 30)],
  ["bit-flipped in the trailer", (bytes) => flip(bytes, -100)],
  ["truncated", (bytes) => bytes.subarray(0, bytes.length - 1)],
  ["emptied", () => new Uint8Array(0)],
];

describe("verify", () => {
  test("finds nothing in a vault that is whole", async () => {
    const { journal } = await sixPoints();
    const report = await journal.verify({ signal });
    expect(report.findings).toEqual([]);
    expect(report.pointsGood.map((point) => point.sequence)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(report.checkedBytes).toBeGreaterThan(12 * blockSizeBytes);
  });

  test.each(damages)("names file, points lost and points good: %s", async (_, damage) => {
    const { vault, journal, pathOf } = await sixPoints();
    await change(vault.files, pathOf(3), damage);
    const { findings, pointsGood, pointsLost } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ path: pathOf(3), code: "DELTA_CORRUPT" }]);
    expect(pointsLost.map((point) => point.sequence)).toEqual([3, 4, 5, 6]);
    expect(pointsGood.map((point) => point.sequence)).toEqual([1, 2]);
    expect(findings[0]?.pointsLost).toEqual(pointsLost.map((point) => point.id));
  });

  test("a chunk loses the points that show it, up to the one that replaced it", async () => {
    const { vault, journal, history, data, pathOf } = await sixPoints();
    await change(vault.files, pathOf(3), (bytes) => flip(bytes, -trailerLengthBytes - 300));
    const { findings, pointsGood, pointsLost } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ path: pathOf(3), code: "DELTA_CORRUPT" }]);
    expect(pointsLost.map((point) => point.sequence)).toEqual([3, 4]);
    expect(pointsGood.map((point) => point.sequence)).toEqual([1, 2, 5, 6]);
    for (const point of pointsGood) {
      await using view = await journal.open(point.id);
      await history.checkView(view);
    }
    await using view = await journal.open(pointsLost[0]!.id);
    const into = Buffer.alloc(4096);
    const read = view.read(data.identity, 3 * blockSizeBytes + 512, into);
    await expect(read).rejects.toMatchObject({ code: "DELTA_CORRUPT" });
    await view.read(data.identity, 2 * blockSizeBytes, into);
  });

  test("a missing delta loses every point from its own on", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await vault.files.remove(pathOf(5));
    const { findings, pointsGood, pointsLost } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ path: pathOf(5), code: "DELTA_MISSING" }]);
    expect(pointsLost.map((point) => point.sequence)).toEqual([5, 6]);
    expect(pointsGood).toHaveLength(4);
    await expect(journal.open(pointsLost[0]!.id)).rejects.toMatchObject({ code: "DELTA_MISSING" });
  });

  test("swapped deltas are both found", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    const [two, three] = [
      await content(vault.files, pathOf(2)),
      await content(vault.files, pathOf(3)),
    ];
    await replace(vault.files, pathOf(2), three);
    await replace(vault.files, pathOf(3), two);
    const { findings, pointsGood } = await journal.verify({ signal });
    expect(findings.map((finding) => finding.path)).toEqual([pathOf(2), pathOf(3)]);
    expect(pointsGood.map((point) => point.sequence)).toEqual([1]);
  });

  test("a delta of a future version is told apart from a damaged one", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await change(vault.files, pathOf(6), (bytes) => {
      bytes.writeUInt16LE(9, 8);
      viewOf(bytes).setUint32(60, crc32(bytes.subarray(0, 60)), true);
      return bytes;
    });
    const { findings, pointsGood } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ path: pathOf(6), code: "DELTA_VERSION" }]);
    expect(pointsGood).toHaveLength(5);
  });

  test("a rotten block of the base loses the points that still show it", async () => {
    const { vault, journal, data } = await sixPoints();
    const path = `${vault.layout.base}/${data.identity}.raw`;
    const at = 5 * blockSizeBytes + 7;
    await change(vault.files, path, (bytes) => flip(bytes, at));
    const { findings, pointsLost } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ path, code: "BASE_CORRUPT" }]);
    expect(pointsLost.map((point) => point.sequence)).toEqual([1, 2, 3, 4]);
    await using view = await journal.open(pointsLost[0]!.id);
    const read = view.read(data.identity, at, Buffer.alloc(1));
    await expect(read).rejects.toMatchObject({ code: "BASE_CORRUPT" });
  });

  test("a hash of the base that is lost is found: the block is not simply zeroes", async () => {
    const { vault, journal, data } = await sixPoints();
    const path = `${vault.layout.base}/${data.identity}.hashes`;
    await change(vault.files, path, (bytes) => bytes.fill(0, 9 * 32, 10 * 32));
    const { findings, pointsGood } = await journal.verify({ signal });
    expect(findings).toMatchObject([{ code: "BASE_CORRUPT" }]);
    expect(pointsGood).toEqual([]);
  });

  test("a base that is gone loses every point of its disk", async () => {
    const { vault, journal, late } = await sixPoints();
    await vault.files.remove(`${vault.layout.base}/${late?.identity}.raw`);
    const { pointsLost } = await journal.verify({ signal });
    expect(pointsLost.map((point) => point.sequence)).toEqual([4, 5, 6]);
  });

  test("one point is judged by what it reads alone", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await vault.files.remove(pathOf(5));
    const [, , third] = journal.points();
    const report = await journal.verify({ signal, point: third!.id });
    expect(report.findings).toEqual([]);
    expect(report.pointsGood).toEqual([third]);
  });

  test("a reader beside the writer finds the same", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await vault.files.remove(pathOf(5));
    await using other = await vault.reader();
    const [name] = await other.groups();
    const reader = await other.reader(name!);
    const report = await reader.verify({ signal });
    expect(report).toEqual(await journal.verify({ signal }));
  });
});

describe("scrub", () => {
  const options = { signal, rateBytesPerSecond: 1e12 };

  test("enters the good points as verified and no others", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await vault.files.remove(pathOf(6));
    const { pointsLost } = await journal.scrub(options);
    expect(pointsLost.map((point) => point.sequence)).toEqual([6]);
    const verified = journal.points().map((point) => point.verifiedAtMs !== null);
    expect(verified).toEqual([true, true, true, true, true, false]);
    const after = (await vault.reopen()).points().map((point) => point.verifiedAtMs !== null);
    expect(after).toEqual(verified);
  });

  test("goes on where it was stopped and does not forget what it found", async () => {
    const { vault, journal, pathOf } = await sixPoints();
    await change(vault.files, pathOf(2), (bytes) => flip(bytes, -100));
    const stop = new AbortController();
    let readBytes = 0;
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      readBytes = doneBytes;
      if (doneBytes > 14 * blockSizeBytes) stop.abort();
    };
    const stopped = journal.scrub({ ...options, signal: stop.signal, onProgress });
    await expect(stopped).rejects.toThrow();
    const next = await vault.reopen();
    const report = await next.scrub(options);
    expect(report.checkedBytes).toBeLessThan(readBytes);
    expect(report.findings).toMatchObject([{ path: pathOf(2) }]);
    expect(report.pointsGood.map((point) => point.sequence)).toEqual([1]);
  });
});

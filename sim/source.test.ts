import { beforeEach, describe, expect, test } from "vitest";
import { type DiskName, type PointId, parseDiskName, parseGroupName } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { Snapshot, Source } from "../src/core/source.ts";
import { virtualClock } from "./clock.ts";
import { Estate } from "./estate.ts";
import { simSource } from "./source.ts";

const group = parseGroupName("erp")!;
const data = parseDiskName("db/data")!;
const wal = parseDiskName("db/wal")!;
const logs = parseDiskName("app/logs")!;
const signal = new AbortController().signal;
const point = (number: number) => number.toString(16).padStart(16, "0") as PointId;
const block = (fill: number) => new Uint8Array(blockSizeBytes).fill(fill);

let estate: Estate;
let source: Source;
beforeEach(() => {
  estate = new Estate();
  estate.addDisk(data, { sizeBytes: 8 * blockSizeBytes });
  estate.addDisk(wal, { sizeBytes: 4 * blockSizeBytes + 512 });
  source = connectTo([data, wal]);
});

function connectTo(disks: readonly DiskName[], scratchBlocksMax = 100): Source {
  return simSource({ estate, group, disks, clock: virtualClock(), scratchBlocksMax });
}

async function tracked(from: Source = source, disks: readonly DiskName[] = [data, wal]) {
  await from.track(disks, point(1), { signal });
  return new Map(disks.map((disk) => [disk, point(1)]));
}

async function dirtyBlocks(snapshot: Snapshot, disk: DiskName): Promise<number[]> {
  const blocks: number[] = [];
  for await (const { offsetBytes, lengthBytes } of snapshot.extents(disk)) {
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += blockSizeBytes) {
      blocks.push(at / blockSizeBytes);
    }
  }
  return blocks;
}

const bitmapsOf = (disk: DiskName) => [...estate.disk(disk).bitmaps.keys()].sort();

describe("a snapshot", () => {
  test("shows what changed since, as it was at the instant, whatever the guest writes later", async () => {
    const since = await tracked();
    estate.write(data, 3 * blockSizeBytes, block(7));
    estate.trim(wal, 0, 512);
    await using snapshot = await source.freeze({ id: point(2), since, signal });
    estate.write(data, 3 * blockSizeBytes, block(8));
    estate.write(data, 5 * blockSizeBytes, block(8));
    expect(await dirtyBlocks(snapshot, data)).toEqual([3]);
    expect(await dirtyBlocks(snapshot, wal)).toEqual([0]);
    const into = new Uint8Array(blockSizeBytes);
    await snapshot.read(data, 3 * blockSizeBytes, into);
    expect(into).toEqual(block(7));
  });

  test("given up leaves the bitmap of since recording and nothing else", async () => {
    const since = await tracked();
    {
      await using _snapshot = await source.freeze({ id: point(2), since, signal });
    }
    expect(bitmapsOf(data)).toEqual([`afterimage:erp:${point(1)}:db/data`]);
    expect(estate.scratchFiles.size).toBe(0);
    estate.write(data, 0, block(1));
    await using again = await source.freeze({ id: point(3), since, signal });
    expect(await dirtyBlocks(again, data)).toEqual([0]);
  });

  test("forgotten leaves the bitmap of its own point, with what was written meanwhile", async () => {
    const since = await tracked();
    {
      await using snapshot = await source.freeze({ id: point(2), since, signal });
      estate.write(data, blockSizeBytes, block(1));
      await snapshot.forget();
      await snapshot.forget();
    }
    expect(bitmapsOf(data)).toEqual([`afterimage:erp:${point(2)}:db/data`]);
    const next = new Map([...since.keys()].map((disk) => [disk, point(2)]));
    await using snapshot = await source.freeze({ id: point(3), since: next, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual([1]);
  });

  test("is lost when scratch is full, and the guest goes on", async () => {
    source = connectTo([data, wal], 1);
    const since = await tracked();
    await using snapshot = await source.freeze({ id: point(2), since, signal });
    estate.write(data, 0, block(1));
    expect(snapshot.lost.aborted).toBe(false);
    expect(estate.write(data, blockSizeBytes, block(1))).toBe(true);
    expect(snapshot.lost.reason).toMatchObject({ code: "SCRATCH_FULL" });
    await expect(snapshot.read(data, 0, block(0))).rejects.toMatchObject({ code: "SCRATCH_FULL" });
  });

  test("is lost when QEMU dies, and giving it up does not fail", async () => {
    const since = await tracked();
    await using snapshot = await source.freeze({ id: point(2), since, signal });
    estate.killMachine("db" as never);
    expect(snapshot.lost.reason).toMatchObject({ code: "QMP_CLOSED" });
  });

  test("holds a grown disk's tail; of a disk that was cut and grown again the bitmap says nothing there", async () => {
    const since = await tracked();
    const wasBlocks = estate.disk(data).image.blockCount;
    estate.resize(data, 6 * blockSizeBytes);
    estate.resize(data, (wasBlocks + 2) * blockSizeBytes);
    await using snapshot = await source.freeze({ id: point(2), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual([wasBlocks, wasBlocks + 1]);
  });

  test("a disk that was cut is not called unchanged, though its bitmap forgot what was there", async () => {
    const since = await tracked();
    expect(await source.dirtyBytes({ since, signal })).toBe(0);
    estate.resize(data, blockSizeBytes);
    expect(await source.dirtyBytes({ since, signal })).toBeGreaterThan(0);
  });

  test("is refused whole when one disk has no good bitmap, and leaves no trace", async () => {
    const since = await tracked();
    estate.disk(wal).bitmaps.clear();
    await expect(source.freeze({ id: point(2), since, signal })).rejects.toMatchObject({
      code: "BITMAP_LOST",
      details: { disk: wal },
    });
    expect(bitmapsOf(data)).toEqual([`afterimage:erp:${point(1)}:db/data`]);
  });

  test("over several machines is undone on all when one fails, and lets them run", async () => {
    estate.addDisk(logs, { sizeBytes: blockSizeBytes });
    source = connectTo([data, logs]);
    const since = await tracked(source, [data, logs]);
    estate.disk(logs).bitmaps.clear();
    await expect(source.freeze({ id: point(2), since, signal })).rejects.toThrow();
    expect(bitmapsOf(data)).toEqual([`afterimage:erp:${point(1)}:db/data`]);
    expect(estate.write(data, 0, block(1))).toBe(true);
  });
});

describe("bitmaps", () => {
  const keep = [point(1)];
  const stateOfData = async () => (await source.repair({ keep, signal })).disks[0]!.state;

  test("survive a clean stop", async () => {
    await tracked();
    estate.write(data, 0, block(1));
    estate.stopMachine("db" as never);
    estate.startMachine("db" as never);
    expect(await stateOfData()).toBe("tracked");
  });

  test("are missing after a kill in their first session, inconsistent in a later one", async () => {
    await tracked();
    estate.killMachine("db" as never);
    expect(bitmapsOf(data)).toEqual([]);
    estate.startMachine("db" as never);
    await tracked();
    estate.stopMachine("db" as never);
    estate.startMachine("db" as never);
    estate.killMachine("db" as never);
    expect(
      estate.disk(data).bitmaps.get(`afterimage:erp:${point(1)}:db/data`)?.isInconsistent,
    ).toBe(true);
    expect(await stateOfData()).toBe("untracked");
    expect(bitmapsOf(data)).toEqual([]);
  });

  test("of a restored image are right when they are of the wanted point: it has what it had then", async () => {
    const since = await tracked();
    estate.write(data, 0, block(1));
    estate.stopMachine("db" as never);
    const copy = estate.copyImage(data);
    estate.startMachine("db" as never);
    estate.write(data, blockSizeBytes, block(2));
    estate.stopMachine("db" as never);
    estate.putImage(data, copy);
    estate.startMachine("db" as never);
    await using snapshot = await source.freeze({ id: point(2), since, signal });
    expect(await dirtyBlocks(snapshot, data)).toEqual([0]);
  });

  test("of a copied image that is another disk's are not taken for its own", async () => {
    await tracked();
    estate.stopMachine("db" as never);
    const copy = estate.copyImage(wal);
    estate.putImage(data, copy);
    const { disks } = await source.repair({ keep, signal });
    expect(disks.map((disk) => disk.state)).toEqual(["untracked", "tracked"]);
  });

  test("of others are left alone by repair, ours of other points go", async () => {
    await tracked();
    await source.track([data], point(9), { signal });
    estate
      .disk(data)
      .bitmaps.set("rep", { ...estate.disk(data).bitmaps.values().next().value!, name: "rep" });
    const report = await source.repair({ keep, signal });
    expect(bitmapsOf(data)).toEqual([`afterimage:erp:${point(1)}:db/data`, "rep"]);
    expect(report.removed).toHaveLength(1);
  });
});

test("repair clears what a dead process left open, so that the next freeze succeeds", async () => {
  const since = await tracked();
  await source.freeze({ id: point(2), since, signal });
  const nextLife = connectTo([data, wal]);
  await expect(nextLife.freeze({ id: point(3), since, signal })).rejects.toMatchObject({
    code: "QMP_REFUSED",
  });
  await nextLife.repair({ keep: [point(1)], signal });
  expect(estate.scratchFiles.size).toBe(0);
  await using snapshot = await nextLife.freeze({ id: point(3), since, signal });
  expect(await dirtyBlocks(snapshot, data)).toEqual([]);
});

import { expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import type { Extent } from "../core/extent.ts";
import { type DiskIdentity, parseDiskIdentity, parseDiskName } from "../core/ids.ts";
import type { PointWriter } from "../core/journal.ts";
import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { Snapshot } from "../core/source.ts";
import { readsInFlightMax, type TransferDisk, transfer } from "./transfer.ts";

const name = parseDiskName("db/data")!;
const identity = parseDiskIdentity("00000000000000d1")!;
const extent = (first: number, blocks: number, state: Extent["state"] = "data"): Extent => ({
  offsetBytes: first * blockSizeBytes,
  lengthBytes: blocks * blockSizeBytes,
  state,
});

/** A snapshot of one disk, all ones, with these changed extents; counts what is under way. */
function stubSnapshot(extents: readonly Extent[], read?: () => Promise<void>) {
  const seen = { underWay: 0, underWayMax: 0, reads: [] as string[] };
  const snapshot: Pick<Snapshot, "extents" | "read"> = {
    async *extents() {
      yield* extents;
    },
    read: async (_disk, offsetBytes, into) => {
      seen.underWay += 1;
      seen.underWayMax = Math.max(seen.underWayMax, seen.underWay);
      seen.reads.push(`${offsetBytes / blockSizeBytes}+${into.length / blockSizeBytes}`);
      into.fill(1);
      await read?.();
      await new Promise((resolve) => setImmediate(resolve));
      seen.underWay -= 1;
    },
  };
  return { snapshot: snapshot as Snapshot, seen };
}

function stubWriter() {
  const written: string[] = [];
  const add =
    (kind: string) => async (_disk: DiskIdentity, at: number, what: Uint8Array | number) => {
      const lengthBytes = typeof what === "number" ? what : what.length;
      written.push(`${kind} ${at / blockSizeBytes}+${lengthBytes / blockSizeBytes}`);
    };
  const writer: Pick<PointWriter, "write" | "zero"> = { write: add("data"), zero: add("zero") };
  return { writer: writer as PointWriter, written };
}

function move(snapshot: Snapshot, writer: PointWriter, sizes: Partial<TransferDisk> = {}) {
  const whole = { sizeBytes: 1000 * blockSizeBytes };
  const disk = { name, identity, ...whole, countedSizeBytes: whole.sizeBytes, headSizeBytes: 0 };
  return transfer({
    snapshot,
    writer: { ready: Promise.resolve(writer) },
    disks: [{ ...disk, ...sizes }],
    signal: new AbortController().signal,
    onFirst: async () => {},
  });
}

test("the tail of a grown disk is read even where the source does not say it changed", async () => {
  const { snapshot, seen } = stubSnapshot([extent(2, 1), extent(12, 1)]);
  const { writer } = stubWriter();
  const sizes = { sizeBytes: 20 * blockSizeBytes, countedSizeBytes: 10 * blockSizeBytes - 512 };
  await move(snapshot, writer, sizes);
  expect(seen.reads).toEqual(["2+1", "9+7", "16+4"]);
});

test("extents that a source gives in crumbs are joined within a window, never across", async () => {
  const crumbs = Array.from({ length: 40 }, (_, block) => extent(block, 1));
  const { snapshot, seen } = stubSnapshot(crumbs);
  await move(snapshot, stubWriter().writer);
  expect(seen.reads).toEqual(["0+16", "16+16", "32+8"]);
});

test("zero extents are written as runs, joined, and never read", async () => {
  const { snapshot, seen } = stubSnapshot([extent(0, 100, "zero"), extent(100, 300, "zero")]);
  const { writer, written } = stubWriter();
  const counts = await move(snapshot, writer);
  expect(seen.reads).toEqual([]);
  expect(written).toEqual(["zero 0+400"]);
  expect(counts.zeroBytes).toBe(400 * blockSizeBytes);
});

test("no more windows are under way than the bound", async () => {
  const { snapshot, seen } = stubSnapshot([extent(0, 900)]);
  const { writer } = stubWriter();
  const counts = await move(snapshot, writer);
  expect(seen.underWayMax).toBe(readsInFlightMax);
  expect(counts.readBytes).toBe(900 * blockSizeBytes);
  expect(windowSizeBytes).toBe(16 * blockSizeBytes);
});

test("a failed read ends the transfer after what was under way has settled", async () => {
  let reads = 0;
  const fail = async () => {
    reads += 1;
    if (reads === 3) throw new Fault("NBD_FAILED", "injected");
  };
  const { snapshot, seen } = stubSnapshot([extent(0, 900)], fail);
  await expect(move(snapshot, stubWriter().writer)).rejects.toMatchObject({ code: "NBD_FAILED" });
  expect(seen.underWay).toBe(1); // The failed one never got to its end.
});

test("a source that breaks its promises is stopped", async () => {
  for (const extents of [
    [extent(4, 1), extent(2, 1)],
    [extent(999, 2)],
    [{ ...extent(0, 1), offsetBytes: 512 }],
  ]) {
    const { snapshot } = stubSnapshot(extents);
    await expect(move(snapshot, stubWriter().writer)).rejects.toThrow(/extents/);
  }
});

import { dirname } from "node:path";
import type { FileSystem } from "../base/file-system.ts";
import { mapOrdered } from "../base/map-ordered.ts";
import { GIB, MIB } from "../base/units.ts";
import type { Extent } from "../core/extent.ts";
import type { View } from "../core/journal.ts";
import type { PointDisk } from "../core/point.ts";

/** How much of a disk is asked about at once. */
const surveyBytes = 16 * GIB;
const readSizeBytes = MIB;
const readsInFlightMax = 8;

/** Says how many bytes were added to the work done. */
export type OnBytes = (addedBytes: number) => void;

/** What is data on a disk of a point, in order. */
export async function* dataExtents(view: View, disk: PointDisk): AsyncGenerator<Extent> {
  for (let offsetBytes = 0; offsetBytes < disk.sizeBytes; offsetBytes += surveyBytes) {
    const lengthBytes = Math.min(surveyBytes, disk.sizeBytes - offsetBytes);
    for (const extent of await view.extents(disk.identity, offsetBytes, lengthBytes)) {
      if (extent.state === "data") yield extent;
    }
  }
}

/** Bytes of data on a disk of a point: what an export of it takes. */
export async function dataBytesOf(view: View, disk: PointDisk): Promise<number> {
  let total = 0;
  for await (const extent of dataExtents(view, disk)) total += extent.lengthBytes;
  return total;
}

/**
 * Writes a disk of a point to a new raw file at `path`, sparse where it reads as zero. The file has its name only when it is
 * whole and durable; aborted or failed, nothing is left.
 */
export async function exportRaw(options: {
  readonly view: View;
  readonly disk: PointDisk;
  readonly files: FileSystem;
  readonly path: string;
  readonly signal: AbortSignal;
  readonly onBytes?: OnBytes;
}): Promise<void> {
  const { files, path } = options;
  await makeWhole(files, path, async (partPath) => {
    await using file = await files.open(partPath, "create");
    await file.truncate(options.disk.sizeBytes);
    const { view, disk, signal } = options;
    const reads = mapOrdered(readsOf(view, disk), readsInFlightMax, async (read) => {
      signal.throwIfAborted();
      const buffer = new Uint8Array(read.lengthBytes);
      await view.read(disk.identity, read.offsetBytes, buffer);
      if (!isZero(buffer)) await file.write(buffer, read.offsetBytes);
      return read.lengthBytes;
    });
    for await (const lengthBytes of reads) options.onBytes?.(lengthBytes);
    signal.throwIfAborted();
    await file.sync();
  });
}

/** Lets `make` write a file under a temporary name and gives it its own when it is there; else removes it. */
export async function makeWhole(
  files: FileSystem,
  path: string,
  make: (partPath: string) => Promise<void>,
): Promise<void> {
  const partPath = `${path}.part`;
  await files.remove(partPath);
  try {
    await make(partPath);
    await files.rename(partPath, path);
  } catch (error) {
    await files.remove(partPath);
    throw error;
  }
  await files.syncDirectory(dirname(path));
}

async function* readsOf(view: View, disk: PointDisk) {
  for await (const extent of dataExtents(view, disk)) {
    const endBytes = extent.offsetBytes + extent.lengthBytes;
    for (let at = extent.offsetBytes; at < endBytes; at += readSizeBytes) {
      yield { offsetBytes: at, lengthBytes: Math.min(readSizeBytes, endBytes - at) };
    }
  }
}

const zeroes = Buffer.alloc(readSizeBytes);

function isZero(bytes: Uint8Array): boolean {
  return zeroes.subarray(0, bytes.length).equals(bytes);
}

import { mapOrdered } from "../../base/map-ordered.ts";
import type { JournalIntake, PointWriter } from "../../core/journal.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import type { DeltaReader } from "../../delta/reader.ts";
import { unlessAborted } from "./bounded.ts";
import type { SpoolGroup } from "./spool-group.ts";
import type { SpooledPoint } from "./spool-state.ts";
import { asSpoolCorrupt } from "./spooled-point.ts";

/** Chunks of a delta read and on their way at once: a window each. */
const chunksInFlightMax = 16;

/**
 * Ships one point that waits: its chunks as they are stored, the parts that it adopts, the seal. Resolves with the vault's point.
 * SPOOL_CORRUPT when the spool's file is to blame; everything else is the link's or the vault's.
 */
export async function shipPoint(options: {
  readonly group: SpoolGroup;
  readonly point: SpooledPoint;
  readonly link: JournalIntake;
  readonly signal: AbortSignal;
}): Promise<Point> {
  const { group, point, link, signal } = options;
  await using reader = await group.openPoint(point);
  const header = headerToShip(reader.header, point, group.state.vaultHead);
  await using opened = new AsyncDisposableStack();
  const beginning = link.begin(header);
  const writer = await unlessAborted(signal, beginning);
  const abandon = unlessAbandoned(writer, signal);
  opened.defer(abandon);
  const entries = Array.from({ length: reader.index.entryCount }, (_, entry) => entry);
  const shipped = mapOrdered(entries, chunksInFlightMax, async (entry) => {
    signal.throwIfAborted();
    await unlessAborted(signal, shipEntry({ reader, writer, header, entry, point }));
  });
  for await (const _ of shipped) signal.throwIfAborted();
  for (const request of point.adopted) {
    const staged = await unlessAborted(signal, link.stage(request));
    opened.defer(unlessAbandoned(staged, signal));
    await unlessAborted(signal, writer.adopt(staged));
  }
  // Another header, or parts that join at the vault, make another content root than the spool's.
  const isSameContent = !point.isRebased && point.adopted.length === 0;
  return await unlessAborted(
    signal,
    writer.seal({
      dirtyBytes: point.dirtyBytes,
      readBytes: point.readBytes,
      contentRoot: isSameContent ? point.contentRoot : null,
      clock: point.clock,
    }),
  );
}

async function shipEntry(options: {
  readonly reader: DeltaReader;
  readonly writer: PointWriter;
  readonly header: PointHeader;
  readonly entry: number;
  readonly point: SpooledPoint;
}): Promise<void> {
  const { reader, writer, entry, point } = options;
  const { index } = reader;
  const disk = options.header.disks[index.disk(entry)]!;
  const [offsetBytes, lengthBytes] = [index.offsetBytes(entry), index.lengthBytes(entry)];
  if (index.isZero(entry)) {
    // What a disk was cut by before the vault's head need not be cut off again.
    const reachBytes = Math.max(disk.sizeBytes, disk.previousSizeBytes ?? 0);
    const withinBytes = Math.min(lengthBytes, reachBytes - offsetBytes);
    if (withinBytes > 0) await writer.zero(disk.identity, offsetBytes, withinBytes);
    return;
  }
  const { codec, list, payload } = await asSpoolCorrupt(point, () => reader.readStored(entry));
  await writer.writeStored(disk.identity, { offsetBytes, lengthBytes, codec, list, payload });
}

/**
 * The header that the vault is given. That of a rebased point says that it goes on from the vault's head, which was sealed
 * after the one it was cut from: it holds all changes since that one, and so all since the head.
 */
function headerToShip(
  header: PointHeader,
  point: SpooledPoint,
  vaultHead: Point | null,
): PointHeader {
  if (!point.isRebased || vaultHead === null) return header;
  const sizes = new Map(vaultHead.disks.map((disk) => [disk.identity, disk.sizeBytes]));
  return {
    ...header,
    fromPoint: vaultHead.id,
    fromSequence: vaultHead.sequence,
    disks: header.disks.map((disk) => ({
      ...disk,
      previousSizeBytes: sizes.get(disk.identity) ?? null,
    })),
  };
}

/** Disposes of it; once the signal has aborted nobody waits for a link that may hang. */
function unlessAbandoned(opened: AsyncDisposable, signal: AbortSignal): () => Promise<void> {
  return async () => {
    const disposing = Promise.resolve(opened[Symbol.asyncDispose]());
    await unlessAborted(signal, disposing).catch((error) => {
      if (!signal.aborted) throw error;
    });
  };
}

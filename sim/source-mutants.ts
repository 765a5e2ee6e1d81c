import type { DiskName, PointId } from "../src/core/ids.ts";
import type { Snapshot, Source } from "../src/core/source.ts";
import { bitmapName, isBitmapOfGroup, makeBitmap } from "./bitmap.ts";
import type { Fleece } from "./estate.ts";
import type { MakeSeams } from "./seams.ts";

/** A snapshot with some of its calls replaced. */
export function altered(snapshot: Snapshot, changes: Partial<Snapshot>): Snapshot {
  const { id, instant, consistency, disks, machines, lost } = snapshot;
  return {
    ...{ id, instant, consistency, disks, machines, lost },
    extents: (disk) => snapshot.extents(disk),
    read: (disk, offsetBytes, into) => snapshot.read(disk, offsetBytes, into),
    release: () => snapshot.release(),
    forget: (options) => snapshot.forget(options),
    [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
    ...changes,
  };
}

function alteringFreeze(
  alter: (snapshot: Snapshot, since: ReadonlyMap<DiskName, PointId>) => Snapshot,
): (source: Source) => Source {
  return (source) => ({
    ...source,
    freeze: async (request) => alter(await source.freeze(request), request.since),
  });
}

/** H goes when the reading ends, before the vault has acknowledged anything. */
export const headRemovedBeforeAck: MakeSeams = () => ({
  source: alteringFreeze((snapshot) => altered(snapshot, { release: () => snapshot.forget() })),
});

/** Any bitmap of ours is taken for the wanted point's. */
export const anyBitmapTrusted: MakeSeams = ({ estate, group }) => ({
  source: (source) => ({
    ...source,
    repair: async (options) => {
      const [wanted] = options.keep;
      for (const disk of wanted === undefined ? [] : estate.disks.values()) {
        const name = bitmapName(group, wanted as PointId, disk.name);
        if (disk.bitmaps.has(name)) continue;
        const other = [...disk.bitmaps.values()].find(
          (bitmap) => isBitmapOfGroup(group, bitmap.name) && bitmap.isRecording,
        );
        if (other === undefined) continue;
        disk.bitmaps.delete(other.name);
        disk.bitmaps.set(name, { ...other, name });
      }
      return source.repair(options);
    },
  }),
});

/** A bitmap that is gone is made anew under its name, as if nothing had been written meanwhile. */
export const lostBitmapReplaced: MakeSeams = ({ estate, group }) => ({
  source: (source) => ({
    ...source,
    repair: async (options) => {
      const [wanted] = options.keep;
      for (const disk of wanted === undefined ? [] : estate.disks.values()) {
        const name = bitmapName(group, wanted as PointId, disk.name);
        const found = disk.bitmaps.get(name);
        if (found && !found.isInconsistent) continue;
        const [isPersistent, sizeBytes] = [disk.canPersist, disk.image.sizeBytes];
        disk.bitmaps.set(name, makeBitmap(name, { isPersistent, isRecording: true, sizeBytes }));
      }
      return source.repair(options);
    },
  }),
});

/** The second disk shows what it holds when it is read, not what it held at the instant. */
export const disksAtDifferentInstants: MakeSeams = ({ estate }) => ({
  source: alteringFreeze((snapshot) =>
    altered(snapshot, {
      read: async (name, offsetBytes, into) => {
        await snapshot.read(name, offsetBytes, into);
        const disk = estate.disks.get(name);
        if (name === snapshot.disks[0]?.name || disk === undefined) return;
        if (disk.image.sizeBytes >= offsetBytes + into.length) disk.image.read(offsetBytes, into);
      },
    }),
  ),
});

/** The new point's bitmap records only from the answer on: what was written while the command was under way is in none. */
export const recordingStartsLate: MakeSeams = ({ estate, group }) => ({
  source: alteringFreeze((snapshot) => {
    for (const { name } of snapshot.disks) {
      estate.disks
        .get(name)
        ?.bitmaps.get(bitmapName(group, snapshot.id, name))
        ?.dirty.clear();
    }
    return snapshot;
  }),
});

/** What the guest overwrites while a point is read is not kept: reads show the live disk once scratch has been written. */
export const copyBeforeWriteSkipped: MakeSeams = ({ estate }) => ({
  source: alteringFreeze((snapshot) => {
    for (const { name } of snapshot.disks) {
      const disk = estate.disks.get(name);
      if (!disk?.fleece) continue;
      const live: { -readonly [Key in keyof Fleece]: Fleece[Key] } = disk.fleece;
      live.at = disk.image;
    }
    return snapshot;
  }),
});

import type { View } from "../core/journal.ts";
import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { PointDisk } from "../core/point.ts";
import type { NbdExport } from "../nbd/export.ts";

/** A disk of a point as our NBD server shows it, read only. The view outlives the export. */
export function viewExport(view: View, disk: PointDisk): NbdExport {
  return {
    sizeBytes: disk.sizeBytes,
    isReadOnly: true,
    description: `${disk.name} at point #${view.point.sequence}`,
    // Reads are verified by the block: smaller ones cost a whole one.
    blockSizes: {
      minimumBytes: 1,
      preferredBytes: blockSizeBytes,
      maximumBytes: 32 * windowSizeBytes,
    },
    read: (offsetBytes, into) => view.read(disk.identity, offsetBytes, into),
    extents: (offsetBytes, lengthBytes) => view.extents(disk.identity, offsetBytes, lengthBytes),
  };
}

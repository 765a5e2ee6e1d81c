import { GIB, MIB } from "../../base/units.ts";
import { blockSizeBytes } from "../../core/limits.ts";

/** The fastest a guest is expected to overwrite, times the second it may take us to give the point up. */
export const scratchHeadroomBytesMax = GIB;
/** Less than this is used up by the overlay's own tables. */
export const scratchShareBytesMin = MIB;
/** One table of 64 KiB maps 512 MiB (qcow2 specification, "Cluster mapping": 8192 entries). */
const mappedPerTableByte = 8192;
/** Two bytes of reference count for each 64 KiB. */
const countedPerTableByte = 32_768;

/** Bytes that an overlay takes when every block of a disk was copied into it. */
export function scratchNeedBytes(diskSizeBytes: number): number {
  const tables =
    Math.ceil(diskSizeBytes / mappedPerTableByte) + Math.ceil(diskSizeBytes / countedPerTableByte);
  // Each table begins a cluster of its own; the slack covers the last of each kind, header and top tables.
  return roundUp(diskSizeBytes + tables + 16 * blockSizeBytes);
}

/**
 * What each disk gets of the cap: no more than it needs, and what one does not need goes to the others in equal parts.
 * Multiples of a block.
 */
export function shareScratch(capBytes: number, needsBytes: readonly number[]): readonly number[] {
  const shares = needsBytes.map(() => 0);
  const order = needsBytes.map((_, index) => index).sort((a, b) => needsBytes[a]! - needsBytes[b]!);
  let leftBytes = capBytes;
  order.forEach((index, rank) => {
    const fairBytes = Math.floor(leftBytes / (order.length - rank));
    const share = Math.min(needsBytes[index]!, fairBytes - (fairBytes % blockSizeBytes));
    shares[index] = share;
    leftBytes -= share;
  });
  return shares;
}

/** Where the point is given up, or null when the share can never run out. */
export function scratchThresholdBytes(shareBytes: number, needBytes: number): number | null {
  if (shareBytes >= needBytes) return null;
  return shareBytes - Math.min(Math.floor(shareBytes / 2), scratchHeadroomBytesMax);
}

function roundUp(lengthBytes: number): number {
  return Math.ceil(lengthBytes / blockSizeBytes) * blockSizeBytes;
}

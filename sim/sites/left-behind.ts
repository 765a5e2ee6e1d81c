import type { Estate } from "../estate.ts";
import type { Medium } from "../medium.ts";

/** What is there after a clean end and should not: anything but the heads' bitmaps on disks, anything unfinished at either site. */
export function leftBehind(places: {
  estate: Estate;
  vault: Medium;
  replicator: Medium;
}): readonly string[] {
  const left: string[] = [...places.estate.scratchFiles];
  for (const disk of places.estate.disks.values()) {
    if (disk.fleece) left.push(`point in time on ${disk.name}`);
    const ours = [...disk.bitmaps.keys()];
    if (ours.length > 1) left.push(`${ours.join(", ")} on ${disk.name}`);
  }
  const passing = /\/(incoming|staged|pins)\/./;
  left.push(...places.vault.paths().filter((path) => passing.test(path)));
  left.push(...places.replicator.paths().filter(isSpooled));
  return left;
}

/** Whether a file of the replicator's site is a point that waits, or was being made. */
function isSpooled(path: string): boolean {
  return /\.(delta|part)$/.test(path);
}

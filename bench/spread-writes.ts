import type { Prng } from "../src/base/prng.ts";
import { MIB } from "../src/base/units.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { NbdClient } from "../src/nbd/client.ts";

const writesInFlight = 8;

/** Offsets of `count` distinct blocks, one in each of as many equal stretches of the disk, in order. */
export function spreadBlocks(prng: Prng, diskBytes: number, count: number): readonly number[] {
  const stretchBlocks = Math.floor(diskBytes / blockSizeBytes / count);
  return Array.from(
    { length: count },
    (_, index) => (index * stretchBlocks + prng.below(stretchBlocks)) * blockSizeBytes,
  );
}

/** Overwrites the blocks with new random bytes, and flushes. */
export async function overwriteBlocks(
  guest: NbdClient,
  prng: Prng,
  offsets: readonly number[],
): Promise<void> {
  const random = new Uint8Array(MIB);
  prng.fill(random);
  const next = offsets.values();
  const writer = async () => {
    const block = new Uint8Array(blockSizeBytes);
    for (const offset of next) {
      // Different in every block and every time, and nothing that compresses.
      const start = prng.below(MIB - blockSizeBytes);
      block.set(random.subarray(start, start + blockSizeBytes));
      block.set(Buffer.from(String(offset)));
      await guest.write(offset, block);
    }
  };
  await Promise.all(Array.from({ length: writesInFlight }, writer));
  await guest.flush();
}

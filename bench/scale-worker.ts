import { seededPrng } from "../src/base/prng.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { cycleWorld } from "./cycle-world.ts";
import { ownRssBytesMax } from "./process.ts";
import { overwriteBlocks, spreadBlocks } from "./spread-writes.ts";

// One measurement of `scale` in a process of its own, so that its memory is its own: changes, then a cycle, a few times.

const [diskBytes, changedBytes, rounds] = process.argv.slice(2).map(Number) as [
  number,
  number,
  number,
];
const prng = seededPrng(1);
await using world = await cycleWorld({ disks: 1, diskBytes });
const blocks = spreadBlocks(prng, diskBytes, changedBytes / blockSizeBytes);
const durationsMs: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  await overwriteBlocks(world.guest("d0"), prng, blocks);
  durationsMs.push((await world.cycle()).durationSeconds * 1000);
}
process.stdout.write(JSON.stringify({ durationsMs, rssBytesMax: await ownRssBytesMax() }));

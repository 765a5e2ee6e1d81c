import assert from "node:assert/strict";
import { openNbdPool } from "../src/nbd/pool.ts";
import { ownRssBytesMax } from "./process.ts";

// The side of `pull` that is ours, in a process of its own so that its memory can be told: reads an export from end to end
// with our pool, into one buffer per request under way, and prints one line of JSON.

const [socketPath, exportName] = process.argv.slice(2);
assert(socketPath !== undefined && exportName !== undefined);

const startedAtMs = performance.now();
let sizeBytes = 0;
{
  await using pool = await openNbdPool({ address: { path: socketPath }, exportName });
  sizeBytes = pool.sizeBytes;
  let nextBytes = 0;
  const readOn = async () => {
    const buffer = Buffer.allocUnsafeSlow(pool.requestBytesMax);
    while (nextBytes < sizeBytes) {
      const offsetBytes = nextBytes;
      const lengthBytes = Math.min(buffer.length, sizeBytes - offsetBytes);
      nextBytes += lengthBytes;
      await pool.read(offsetBytes, buffer.subarray(0, lengthBytes));
    }
  };
  await Promise.all(Array.from({ length: pool.readsInFlightMax }, readOn));
}
const durationMs = performance.now() - startedAtMs;
const rssBytes = await ownRssBytesMax();
process.stdout.write(`${JSON.stringify({ sizeBytes, durationMs, rssBytes })}\n`);

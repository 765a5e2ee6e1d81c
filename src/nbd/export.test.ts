import { join } from "node:path";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import type { Extent } from "../core/extent.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { allocationFlag, baseAllocation } from "./protocol.ts";
import { serveNbd } from "./server.ts";
import { exportContract } from "./test-export-contract.ts";
import { scratchDirectory } from "./test-scratch.ts";

function sparseDisk(): Uint8Array {
  const bytes = new Uint8Array(MIB + 512);
  const prng = seededPrng(10);
  for (let at = 0; at < MIB; at += 300 * KIB) prng.fill(bytes.subarray(at, at + 90 * KIB));
  return bytes;
}

exportContract("memory", async () => {
  const bytes = sparseDisk();
  return {
    found: memoryExport(bytes),
    content: bytes.slice(),
    [Symbol.asyncDispose]: async () => {},
  };
});

for (const minimumBytes of [1, 512]) {
  exportContract(`memory, through client and server, blocks of ${minimumBytes}`, async () => {
    await using stack = new AsyncDisposableStack();
    const scratch = stack.use(await scratchDirectory());
    const bytes = sparseDisk();
    const content = bytes.slice();
    const blockSizes = { minimumBytes, preferredBytes: 4096, maximumBytes: 64 * KIB };
    const exports = fixedExports(new Map([["disk", memoryExport(bytes, { blockSizes })]]));
    const listen = { path: join(scratch.path, "s") };
    const server = stack.use(await serveNbd({ listen, exports }));
    const options = { exportName: "disk", metaContexts: [baseAllocation] };
    const client = stack.use(await connectNbd({ address: server.address, ...options }));
    const held = stack.move();
    return { found: remote(client), content, [Symbol.asyncDispose]: () => held.disposeAsync() };
  });
}

/** A connection seen as an export. */
function remote(client: NbdClient): NbdExport {
  return {
    sizeBytes: client.sizeBytes,
    isReadOnly: false,
    read: (offsetBytes, into) => client.read(offsetBytes, into),
    write: (offsetBytes, from) => client.write(offsetBytes, from),
    zero: (offsetBytes, lengthBytes, { mayPunch }) =>
      client.zero(offsetBytes, lengthBytes, { keepsAllocation: !mayPunch }),
    trim: (offsetBytes, lengthBytes) => client.trim(offsetBytes, lengthBytes),
    flush: () => client.flush(),
    extents: async (offsetBytes, lengthBytes) => {
      const found = await Array.fromAsync(client.extents(baseAllocation, offsetBytes, lengthBytes));
      return found.map(({ flags, ...run }): Extent => {
        const isZero = (flags & allocationFlag.zero) !== 0;
        return { ...run, state: isZero ? "zero" : "data" };
      });
    },
  };
}

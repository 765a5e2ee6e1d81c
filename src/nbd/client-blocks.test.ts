import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "vitest";
import { KIB } from "../base/units.ts";
import { connectNbd } from "./client.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { chunkType, command, commandFlag } from "./protocol.ts";
import { serveNbd } from "./server.ts";
import { scriptedServer } from "./test-hostile-server.ts";
import { scratchDirectory } from "./test-scratch.ts";
import { uint32 } from "./wire.ts";

async function served(found: NbdExport) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const exports = fixedExports(new Map([["disk", found]]));
  const server = stack.use(await serveNbd({ listen: { path: join(scratch.path, "s") }, exports }));
  const held = stack.move();
  return { address: server.address, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

test("writes at once into one block of the server do not undo each other", async () => {
  const bytes = new Uint8Array(4 * KIB);
  const blockSizes = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 4096 };
  await using at = await served(memoryExport(bytes, { blockSizes }));
  await using client = await connectNbd({ address: at.address, exportName: "disk" });
  const model = new Uint8Array(4 * KIB);
  const writes = Array.from({ length: 40 }, (_, index) => {
    model.fill(index + 1, index * 100, index * 100 + 100);
    return client.write(index * 100, new Uint8Array(100).fill(index + 1));
  });
  await Promise.all([...writes, client.zero(4000, 50)]);
  assert.deepEqual(bytes, model);
});

test("a last block that is short is read and written as it is", async () => {
  const bytes = new Uint8Array(2 * 4096 + 512).fill(3);
  const blockSizes = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 4096 };
  await using at = await served(memoryExport(bytes, { blockSizes }));
  await using client = await connectNbd({ address: at.address, exportName: "disk" });
  const model = bytes.slice().fill(9, 8000, 8200).fill(0, 8300, 8350);
  await client.write(8000, new Uint8Array(200).fill(9));
  await client.zero(8300, 50);
  assert.deepEqual(bytes, model);
  const into = new Uint8Array(600);
  await client.read(8104, into);
  assert.deepEqual(into, model.subarray(8104));
});

test("the edges of WRITE_ZEROES are written without its own flags", async () => {
  const seen: [number, number, number, number][] = [];
  await using server = await scriptedServer(async (peer) => {
    await peer.admit({ sizeBytes: 65_536, flags: 0xd6d, blockSizes: [4096, 4096, 65_536] });
    for (;;) {
      const request = await peer.request();
      seen.push([request.command, request.flags, request.offsetBytes, request.lengthBytes]);
      if (request.command === command.write) await peer.take(request.lengthBytes);
      const payload = request.command === command.read ? Buffer.alloc(4096, 1) : Buffer.alloc(0);
      peer.simple(request.cookie, 0, payload);
    }
  });
  await using client = await connectNbd({ address: server.address });
  const options = { keepsAllocation: true, isFastOnly: true, isDurable: true };
  await client.zero(100, 8092, options);
  const { fua, noHole, fastZero } = commandFlag;
  assert.deepEqual(
    seen.toSorted(([one], [other]) => one - other),
    [
      [command.read, 0, 0, 4096],
      [command.write, fua, 0, 4096],
      [command.writeZeroes, fua | noHole | fastZero, 4096, 4096],
    ],
  );
});

test("status that ends inside a block is asked for again from the block's start", async () => {
  const asked: number[] = [];
  await using server = await scriptedServer(async (peer) => {
    const contexts = ["a:b"];
    await peer.admit({ sizeBytes: 65_536, contexts, blockSizes: [4096, 4096, 65_536] });
    for (;;) {
      const { cookie, offsetBytes } = await peer.request();
      asked.push(offsetBytes);
      const lengthBytes = offsetBytes === 0 ? 6000 : 65_536 - offsetBytes;
      const payload = Buffer.concat([uint32(1), uint32(lengthBytes), uint32(7)]);
      peer.chunk(cookie, chunkType.blockStatus, payload);
    }
  });
  await using client = await connectNbd({ address: server.address, metaContexts: ["a:b"] });
  const found = await Array.fromAsync(client.extents("a:b", 10, 60_000));
  assert.deepEqual(found, [{ offsetBytes: 10, lengthBytes: 60_000, flags: 7 }]);
  assert.deepEqual(asked, [0, 4096]);
});

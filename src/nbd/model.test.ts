import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "vitest";
import { KIB } from "../base/units.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import { fixedExports } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { baseAllocation } from "./protocol.ts";
import { serveNbd } from "./server.ts";
import { scratchDirectory } from "./test-scratch.ts";

/** An odd multiple of the block sizes used, so that the last block is met too. */
const diskBytes = 192 * KIB;

type Step =
  | { readonly kind: "read" | "zero" | "trim" | "status"; offset: number; length: number }
  | { readonly kind: "write"; offset: number; length: number; value: number };

const place = { offset: fc.nat(diskBytes - 1), length: fc.integer({ min: 1, max: 70 * KIB }) };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom("read", "zero", "trim", "status"), ...place }),
  fc.record({ kind: fc.constant("write"), ...place, value: fc.integer({ min: 1, max: 255 }) }),
);

async function play(client: NbdClient, model: Uint8Array, served: Uint8Array, one: Step) {
  const length = Math.min(one.length, diskBytes - one.offset);
  const end = one.offset + length;
  if (one.kind === "write") {
    await client.write(one.offset, new Uint8Array(length).fill(one.value));
    model.fill(one.value, one.offset, end);
  } else if (one.kind === "zero") {
    await client.zero(one.offset, length, { isDurable: true });
    model.fill(0, one.offset, end);
  } else if (one.kind === "trim") {
    await client.trim(one.offset, length);
    // What a trim leaves is the server's business, outside of whole blocks nothing may change.
    const block = client.blockSizes.minimumBytes;
    const first = Math.ceil(one.offset / block) * block;
    const last = end === diskBytes ? end : Math.floor(end / block) * block;
    if (first < last) model.fill(0, first, last);
  } else if (one.kind === "read") {
    const into = new Uint8Array(length).fill(0xee);
    await client.read(one.offset, into);
    assert.deepEqual(into, model.subarray(one.offset, end));
  } else await checkStatus(client, model, one.offset, end);
  assert.deepEqual(served, model);
}

async function checkStatus(client: NbdClient, model: Uint8Array, offset: number, end: number) {
  if (client.metaContexts.length === 0) return;
  let at = offset;
  for await (const extent of client.extents(baseAllocation, offset, end - offset)) {
    assert.equal(extent.offsetBytes, at);
    at += extent.lengthBytes;
    const isZero = extent.flags === 3;
    if (isZero) assert(model.subarray(extent.offsetBytes, at).every((byte) => byte === 0));
  }
  assert.equal(at, end);
}

const variants = [
  { name: "simple replies", minimumBytes: 1, maximumBytes: 32 * KIB, metaContexts: [] },
  {
    name: "structured replies",
    minimumBytes: 1,
    maximumBytes: 64 * KIB,
    metaContexts: [baseAllocation],
  },
  { name: "blocks of 512 bytes", minimumBytes: 512, maximumBytes: 32 * KIB, metaContexts: [] },
  {
    name: "blocks of 4 KiB, requests of one block",
    minimumBytes: 4 * KIB,
    maximumBytes: 4 * KIB,
    metaContexts: [baseAllocation],
  },
];

for (const variant of variants) {
  test(`what client and server do to a disk is what a plain array would do (${variant.name})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        await using scratch = await scratchDirectory();
        const served = new Uint8Array(diskBytes);
        const { minimumBytes, maximumBytes, metaContexts } = variant;
        const blockSizes = { minimumBytes, preferredBytes: 4 * KIB, maximumBytes };
        const exports = fixedExports(new Map([["disk", memoryExport(served, { blockSizes })]]));
        await using server = await serveNbd({ listen: { path: join(scratch.path, "s") }, exports });
        await using client = await connectNbd({
          address: server.address,
          exportName: "disk",
          metaContexts,
        });
        const model = new Uint8Array(diskBytes);
        for (const one of steps) await play(client, model, served, one);
      }),
      { numRuns: 40 },
    );
  });
}

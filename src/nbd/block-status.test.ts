import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { chunkType } from "./protocol.ts";
import { admitted, faultOf, type Script, sizeBytes } from "./test-admitted.ts";
import { uint32 } from "./wire.ts";

/** Payload of a status chunk. */
function status(contextId: number, ...runs: readonly (readonly [number, number])[]): Buffer {
  const descriptors = runs.flatMap(([lengthBytes, flags]) => [uint32(lengthBytes), uint32(flags)]);
  return Buffer.concat([uint32(contextId), ...descriptors]);
}

describe("block status", () => {
  const contexts = ["base:allocation", "qemu:dirty-bitmap:x"];
  const cases: readonly [string, readonly Buffer[], RegExp][] = [
    ["an extent of no length", [status(1, [0, 0])], /an extent of no length/],
    [
      "an extent after the request's end",
      [status(1, [sizeBytes, 0], [512, 1])],
      /beyond the request/,
    ],
    ["an extent past the export", [status(1, [sizeBytes + 1, 0])], /beyond the export/],
    ["an unknown context", [status(9, [512, 0])], /context 9/],
    ["a context told twice", [status(1, [512, 0]), status(1, [512, 0])], /told twice/],
    ["a context left out", [status(1, [512, 0])], /without all metadata contexts/],
    ["half a descriptor", [Buffer.alloc(8)], /a chunk of type 5 and 8 bytes/],
    ["no descriptor", [Buffer.alloc(4)], /a chunk of type 5 and 4 bytes/],
  ];
  for (const [name, chunks, words] of cases) {
    test(`${name} is NBD_PROTOCOL`, async () => {
      const script: Script = async (peer) => {
        const { cookie } = await peer.request();
        for (const [index, chunk] of chunks.entries()) {
          peer.chunk(cookie, chunkType.blockStatus, chunk, index === chunks.length - 1);
        }
        await peer.untilEnd();
      };
      await admitted({ metaContexts: contexts }, script, async (client) => {
        const fault = await faultOf(Array.fromAsync(client.status(0, sizeBytes)));
        assert.equal(fault.code, "NBD_PROTOCOL");
        assert.match(fault.message, words);
      });
    });
  }

  test("short lists of different lengths become one map of all contexts", async () => {
    const asked: [number, number][] = [];
    const answers = [
      [status(1, [4096, 0], [4096, 3]), status(2, [2048, 1], [2048, 0])],
      [status(2, [4096, 0]), status(1, [4096, 3])],
      // Past the request, which a server may: it knows more than it was asked.
      [status(1, [sizeBytes - 8192, 3]), status(2, [8192, 0], [sizeBytes - 16_384, 0])],
    ];
    const script: Script = async (peer) => {
      for (const chunks of answers) {
        const { cookie, offsetBytes, lengthBytes } = await peer.request();
        asked.push([offsetBytes, lengthBytes]);
        for (const [index, chunk] of chunks.entries()) {
          peer.chunk(cookie, chunkType.blockStatus, chunk, index === chunks.length - 1);
        }
      }
      await peer.untilEnd();
    };
    await admitted({ metaContexts: contexts }, script, async (client) => {
      const found = await Array.fromAsync(client.status(0, 32_768));
      const [allocation, dirty] = contexts as [string, string];
      assert.deepEqual(found, [
        { offsetBytes: 0, lengthBytes: 2048, flags: { [allocation]: 0, [dirty]: 1 } },
        { offsetBytes: 2048, lengthBytes: 2048, flags: { [allocation]: 0, [dirty]: 0 } },
        { offsetBytes: 4096, lengthBytes: 28_672, flags: { [allocation]: 3, [dirty]: 0 } },
      ]);
      assert.deepEqual(asked, [
        [0, 32_768],
        [4096, 28_672],
        [8192, 24_576],
      ]);
    });
  });
});

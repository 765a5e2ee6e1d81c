import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { chunkType, simpleReplyMagic } from "./protocol.ts";
import { admitted, data, expectReadFault, faultOf, hole, type Script } from "./test-admitted.ts";
import { type ScriptedPeer, uint64 } from "./test-hostile-server.ts";
import { uint16, uint32 } from "./wire.ts";

describe("a hostile server in the transmission phase, simple replies", () => {
  test("bad reply magic is NBD_PROTOCOL", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      peer.send(uint32(0xdeadbeef), uint32(0), cookie);
    };
    await expectReadFault({}, script, "NBD_PROTOCOL", /bad reply magic/);
  });

  test("a reply to an unknown handle is NBD_PROTOCOL", async () => {
    const script: Script = async (peer) => {
      await peer.request();
      peer.simple(Buffer.alloc(8, 0xff), 0);
    };
    await expectReadFault({}, script, "NBD_PROTOCOL", /not under way/);
  });

  test("a second answer to a request is NBD_PROTOCOL, also when its slot is in use again", async () => {
    const script: Script = async (peer) => {
      const first = await peer.request();
      peer.simple(first.cookie, 0, Buffer.alloc(1));
      await peer.request();
      peer.simple(first.cookie, 0, Buffer.alloc(1));
    };
    await admitted({}, script, async (client) => {
      await client.read(0, new Uint8Array(1));
      const fault = await faultOf(client.read(0, new Uint8Array(1)));
      assert.equal(fault.code, "NBD_PROTOCOL");
    });
  });

  test("a structured reply that was not negotiated is NBD_PROTOCOL", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      peer.chunk(cookie, chunkType.offsetData, data(4096, 4096));
    };
    await expectReadFault({}, script, "NBD_PROTOCOL", /not negotiated/);
  });

  test("an answer nobody asked for is NBD_PROTOCOL", async () => {
    const script: Script = async (peer) => {
      peer.simple(Buffer.alloc(8), 0);
      await peer.untilEnd();
    };
    await expectReadFault({}, script, "NBD_PROTOCOL", /not under way/);
  });

  test("a connection cut in the middle of a payload is NBD_CLOSED", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      peer.simple(cookie, 0, Buffer.alloc(100));
      peer.end();
    };
    await expectReadFault({}, script, "NBD_CLOSED", /closed the connection/);
  });

  test("a payload that drips byte by byte is given up within the bound", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      peer.simple(cookie, 0);
      for (let count = 0; count < 4095; count += 1) {
        peer.send(Buffer.of(1));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const options = { timeouts: { replyMs: 50 } };
    await expectReadFault(options, script, "TIMEOUT", /did not answer within 50 ms/);
  });

  test("an error number is NBD_FAILED and the connection lives on", async () => {
    const script: Script = async (peer) => {
      peer.simple((await peer.request()).cookie, 5);
      peer.simple((await peer.request()).cookie, 0, Buffer.alloc(512, 9));
      await peer.untilEnd();
    };
    await admitted({}, script, async (client) => {
      const fault = await faultOf(client.read(0, new Uint8Array(512)));
      assert.equal(fault.code, "NBD_FAILED");
      assert.equal(fault.details.errno, 5);
      const into = new Uint8Array(512);
      await client.read(0, into);
      assert(into.every((byte) => byte === 9));
    });
  });

  test("ESHUTDOWN ends the connection: everything pending is NBD_CLOSED", async () => {
    const script: Script = async (peer) => {
      peer.simple((await peer.request()).cookie, 108);
      await peer.untilEnd();
    };
    await admitted({}, script, async (client) => {
      const both = [client.read(0, new Uint8Array(512)), client.read(512, new Uint8Array(512))];
      const faults = await Promise.all(both.map(faultOf));
      assert.deepEqual(
        faults.map((fault) => fault.code),
        ["NBD_CLOSED", "NBD_CLOSED"],
      );
    });
  });

  test("answers in any order find their requests", async () => {
    const script: Script = async (peer) => {
      const requests = [await peer.request(), await peer.request(), await peer.request()];
      for (const { cookie, offsetBytes, lengthBytes } of requests.reverse()) {
        peer.simple(cookie, 0, Buffer.alloc(lengthBytes, offsetBytes / 512));
      }
      await peer.untilEnd();
    };
    await admitted({}, script, async (client) => {
      const buffers = [1, 2, 3].map((value) => ({ value, into: new Uint8Array(512) }));
      await Promise.all(buffers.map(({ value, into }) => client.read(value * 512, into)));
      for (const { value, into } of buffers) assert(into.every((byte) => byte === value));
    });
  });
});

describe("a hostile server in the transmission phase, structured replies", () => {
  const options = { replies: "structured" } as const;
  const cases: readonly [string, (peer: ScriptedPeer, cookie: Buffer) => void, RegExp][] = [
    ["a simple reply to a READ", (peer, cookie) => peer.simple(cookie, 0), /must be structured/],
    [
      "data before the request",
      (peer, cookie) => peer.chunk(cookie, chunkType.offsetData, data(4095, 10)),
      /outside of what was asked/,
    ],
    [
      "data that runs past the request",
      (peer, cookie) => peer.chunk(cookie, chunkType.offsetData, data(8000, 193)),
      /outside of what was asked/,
    ],
    [
      "data at an offset above 2^53",
      (peer, cookie) => {
        const payload = Buffer.concat([uint64(2n ** 64n - 1n), Buffer.alloc(8)]);
        peer.chunk(cookie, chunkType.offsetData, payload);
      },
      /outside of what was asked/,
    ],
    [
      "chunks that overlap",
      (peer, cookie) => {
        peer.chunk(cookie, chunkType.offsetData, data(4096, 2048), false);
        peer.chunk(cookie, chunkType.offsetHole, hole(6143, 100));
      },
      /overlapping chunks/,
    ],
    [
      "a hole of no length",
      (peer, cookie) => peer.chunk(cookie, chunkType.offsetHole, hole(4096, 0)),
      /outside of what was asked/,
    ],
    [
      "success without all of the data",
      (peer, cookie) => peer.chunk(cookie, chunkType.offsetData, data(4096, 4095)),
      /without all of the data/,
    ],
    [
      "success without any data",
      (peer, cookie) => peer.chunk(cookie, chunkType.none, Buffer.alloc(0)),
      /without all of the data/,
    ],
    [
      "an empty chunk that is not the last",
      (peer, cookie) => peer.chunk(cookie, chunkType.none, Buffer.alloc(0), false),
      /a chunk of type 0/,
    ],
    [
      "a chunk of 4 GiB",
      (peer, cookie) =>
        peer.send(uint32(0x668e33ef), uint16(1), uint16(0x8001), cookie, uint32(0xffffffff)),
      /a chunk of type 32769 and 4294967295 bytes/,
    ],
    [
      "a chunk of an unknown type",
      (peer, cookie) => peer.chunk(cookie, 77, Buffer.alloc(8)),
      /a chunk of type 77/,
    ],
    [
      "an error chunk whose message is longer than the chunk",
      (peer, cookie) => peer.chunk(cookie, chunkType.error, Buffer.concat([uint32(5), uint16(10)])),
      /malformed error chunk/,
    ],
    [
      "an error chunk without an error",
      (peer, cookie) => peer.chunk(cookie, chunkType.error, Buffer.alloc(6)),
      /malformed error chunk/,
    ],
    [
      "a block status nobody asked for",
      (peer, cookie) => peer.chunk(cookie, chunkType.blockStatus, Buffer.alloc(12)),
      /a chunk of type 5/,
    ],
  ];
  for (const [name, answer, words] of cases) {
    test(`${name} is NBD_PROTOCOL`, async () => {
      const script: Script = async (peer) => {
        answer(peer, (await peer.request()).cookie);
        await peer.untilEnd();
      };
      await expectReadFault(options, script, "NBD_PROTOCOL", words);
    });
  }

  test("an endless reply of tiny chunks ends", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      const message = Buffer.concat([uint32(5), uint16(0), uint64(4096)]);
      for (let count = 0; count < 70_000; count += 1) {
        peer.chunk(cookie, chunkType.errorOffset, message, false);
      }
    };
    await expectReadFault(options, script, "NBD_PROTOCOL", /too many chunks/);
  });

  test("chunks in any order, with holes, make the whole", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      peer.chunk(cookie, chunkType.offsetHole, hole(6144, 1024), false);
      peer.chunk(cookie, chunkType.offsetData, data(7168, 1024), false);
      peer.chunk(cookie, chunkType.offsetData, data(4096, 2048), false);
      peer.chunk(cookie, chunkType.none, Buffer.alloc(0));
      await peer.untilEnd();
    };
    await admitted(options, script, async (client) => {
      const into = new Uint8Array(4096).fill(1);
      await client.read(4096, into);
      const expected = new Uint8Array(4096).fill(7);
      assert.deepEqual(into, expected.fill(0, 2048, 3072));
    });
  });

  test("an error chunk, with data around it, fails the read alone and keeps the server's words", async () => {
    const script: Script = async (peer) => {
      const { cookie } = await peer.request();
      const words = Buffer.from("bad sector");
      peer.chunk(cookie, chunkType.offsetData, data(4096, 4096), false);
      const error = Buffer.concat([uint32(5), uint16(words.length), words, uint64(4200)]);
      peer.chunk(cookie, chunkType.errorOffset, error);
      const next = await peer.request();
      peer.chunk(next.cookie, chunkType.offsetData, data(0, 512));
      await peer.untilEnd();
    };
    await admitted(options, script, async (client) => {
      const fault = await faultOf(client.read(4096, new Uint8Array(4096)));
      assert.equal(fault.code, "NBD_FAILED");
      assert.match(fault.message, /EIO \(bad sector\)/);
      await client.read(0, new Uint8Array(512));
    });
  });
});

test("a peer made of the reply magic alone does not stall: it is a reply nobody asked for", async () => {
  const script: Script = async (peer) => {
    await peer.request();
    for (let count = 0; count < 8; count += 1) peer.send(uint32(simpleReplyMagic));
    await peer.untilEnd();
  };
  await expectReadFault({}, script, "NBD_PROTOCOL", /not under way/);
});

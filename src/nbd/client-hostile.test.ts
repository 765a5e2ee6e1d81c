import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { type Fault, isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import type { NbdClientOptions } from "./client-options.ts";
import { listNbdExports } from "./list.ts";
import { chunkType, optionReply, simpleReplyMagic } from "./protocol.ts";
import {
  blockSizeInfo,
  contextAnswer,
  exportInfo,
  type ScriptedPeer,
  scriptedServer,
  uint64,
} from "./test-hostile-server.ts";
import { lengthPrefixed, uint16, uint32 } from "./wire.ts";

type Script = (peer: ScriptedPeer) => Promise<void>;

async function faultOf(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    assert(isFault(error), `expected a Fault, got ${String(error)}`);
    return error;
  }
  throw new assert.AssertionError({ message: "expected a Fault, but it went well" });
}

async function expectHandshakeFault(script: Script, code: FaultCode, words: RegExp) {
  await using server = await scriptedServer(script);
  const fault = await faultOf(connectNbd({ address: server.address, exportName: "disk" }));
  assert.equal(fault.code, code);
  assert.match(fault.message, words);
}

describe("a hostile server in the handshake", () => {
  test("bad magic is NBD_PROTOCOL", async () => {
    const script: Script = async (peer) =>
      peer.send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await expectHandshakeFault(script, "NBD_PROTOCOL", /no NBD greeting/);
  });

  test("an oldstyle server is refused by name", async () => {
    const script: Script = async (peer) =>
      peer.send(Buffer.from("NBDMAGIC"), uint64(0x00420281861253n), Buffer.alloc(140));
    await expectHandshakeFault(script, "NBD_REFUSED", /oldstyle/);
  });

  test("a connection closed after the greeting is NBD_CLOSED", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      peer.end();
    };
    await expectHandshakeFault(script, "NBD_CLOSED", /closed the connection/);
  });

  test("an oversized option reply is refused before it is read", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      const { kind } = await peer.option();
      peer.send(uint64(0x3e889045565a9n), uint32(kind), uint32(3), uint32(0xffffffff));
    };
    await expectHandshakeFault(script, "NBD_PROTOCOL", /oversized option reply/);
  });

  test("an answer to another option is refused", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      await peer.option();
      peer.answer(99, optionReply.ack);
    };
    await expectHandshakeFault(script, "NBD_PROTOCOL", /another option/);
  });

  test("endless answers to one option end", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      const { kind } = await peer.option();
      for (let count = 0; count < 20_000; count += 1) {
        peer.answer(kind, optionReply.info, uint16(99));
      }
    };
    await expectHandshakeFault(script, "NBD_PROTOCOL", /too many answers/);
  });

  test("GO without export information is refused", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      peer.answer((await peer.option()).kind, optionReply.ack);
    };
    await expectHandshakeFault(script, "NBD_PROTOCOL", /without export information/);
  });

  test("an export of more than 2^53 bytes is refused", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      const { kind } = await peer.option();
      const data = Buffer.concat([uint16(0), uint64(2n ** 63n), uint16(1)]);
      peer.answer(kind, optionReply.info, data);
      peer.answer(kind, optionReply.ack);
    };
    await expectHandshakeFault(script, "NBD_PROTOCOL", /2\^53/);
  });

  const contradictions: readonly [string, readonly [number, number, number]][] = [
    ["a minimum that is no power of two", [3, 4096, 32768]],
    ["a minimum of zero", [0, 4096, 32768]],
    ["a minimum above 64 KiB", [131_072, 131_072, 1_048_576]],
    ["a maximum below the minimum", [4096, 4096, 512]],
    ["a preferred size below the minimum", [4096, 512, 32_768]],
  ];
  for (const [name, sizes] of contradictions) {
    test(`block sizes with ${name} are refused`, async () => {
      const script: Script = async (peer) => {
        await peer.greet();
        const { kind } = await peer.option();
        peer.answer(kind, optionReply.info, exportInfo({ sizeBytes: 4096 }));
        peer.answer(kind, optionReply.info, blockSizeInfo(...sizes));
        peer.answer(kind, optionReply.ack);
      };
      await expectHandshakeFault(script, "NBD_PROTOCOL", /block sizes/);
    });
  }

  test("an unknown export is NBD_REFUSED with the server's words", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      peer.answer((await peer.option()).kind, 0x80000006, Buffer.from("no such thing"));
    };
    await expectHandshakeFault(script, "NBD_REFUSED", /"disk" is unknown.*no such thing/);
  });

  test("a server that wants TLS is NBD_REFUSED and says so", async () => {
    const script: Script = async (peer) => {
      await peer.greet();
      peer.answer((await peer.option()).kind, 0x80000005);
    };
    await expectHandshakeFault(script, "NBD_REFUSED", /without TLS/);
  });

  test("a server that drips one byte at a time is given up within the bound", async () => {
    await using server = await scriptedServer(async (peer) => {
      for (const byte of Buffer.from("NBDMAGICIHAVEOPT")) {
        peer.send(Buffer.of(byte));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await peer.untilEnd();
    });
    const timeouts = { handshakeMs: 60 };
    const fault = await faultOf(connectNbd({ address: server.address, timeouts }));
    assert.equal(fault.code, "TIMEOUT");
  });

  test("a metadata context that is not there is NBD_REFUSED and named", async () => {
    await using server = await scriptedServer(async (peer) => peer.admit({ sizeBytes: 4096 }));
    const options = { address: server.address, metaContexts: ["qemu:dirty-bitmap:x"] };
    const fault = await faultOf(connectNbd(options));
    assert.equal(fault.code, "NBD_REFUSED");
    assert.equal(fault.details.metaContext, "qemu:dirty-bitmap:x");
  });

  test("one metadata context id for two contexts is refused", async () => {
    await using server = await scriptedServer(async (peer) => {
      await peer.greet();
      peer.answer((await peer.option()).kind, optionReply.ack);
      const { kind } = await peer.option();
      peer.answer(kind, optionReply.metaContext, contextAnswer(1, "a:b"));
      peer.answer(kind, optionReply.metaContext, contextAnswer(1, "a:c"));
      peer.answer(kind, optionReply.ack);
    });
    const fault = await faultOf(
      connectNbd({ address: server.address, metaContexts: ["a:b", "a:c"] }),
    );
    assert.match(fault.message, /context id twice/);
  });

  test("a list with a name longer than its entry is refused", async () => {
    await using server = await scriptedServer(async (peer) => {
      await peer.greet();
      const { kind } = await peer.option();
      const entry = lengthPrefixed("name");
      entry.writeUInt32BE(400, 0);
      peer.answer(kind, optionReply.server, entry);
      peer.answer(kind, optionReply.ack);
    });
    assert.equal((await faultOf(listNbdExports({ address: server.address }))).code, "NBD_PROTOCOL");
  });
});

const sizeBytes = 1024 * 1024;

/** Connects to a server that admits everybody and then plays `script`; runs `use` on the client. */
async function admitted(
  options: Pick<NbdClientOptions, "metaContexts" | "replies" | "timeouts">,
  script: Script,
  use: (client: NbdClient) => Promise<void>,
) {
  await using server = await scriptedServer(async (peer) => {
    await peer.admit({ sizeBytes, contexts: options.metaContexts ?? [] });
    await script(peer);
  });
  await using client = await connectNbd({ address: server.address, ...options });
  await use(client);
}

async function expectReadFault(
  options: Pick<NbdClientOptions, "metaContexts" | "replies" | "timeouts">,
  script: Script,
  code: FaultCode,
  words: RegExp,
) {
  await admitted(options, script, async (client) => {
    const fault = await faultOf(client.read(4096, new Uint8Array(4096)));
    assert.equal(fault.code, code);
    assert.match(fault.message, words);
    // The connection is gone for good, and says the same to whoever comes later.
    if (code === "NBD_PROTOCOL") {
      assert.equal((await faultOf(client.read(0, new Uint8Array(1)))).code, code);
    }
  });
}

/** Payload of a data chunk. */
function data(offsetBytes: number, lengthBytes: number): Buffer {
  return Buffer.concat([uint64(offsetBytes), Buffer.alloc(lengthBytes, 7)]);
}

function hole(offsetBytes: number, lengthBytes: number): Buffer {
  return Buffer.concat([uint64(offsetBytes), uint32(lengthBytes)]);
}

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

test("a peer made of the reply magic alone does not stall: it is a reply nobody asked for", async () => {
  const script: Script = async (peer) => {
    await peer.request();
    for (let count = 0; count < 8; count += 1) peer.send(uint32(simpleReplyMagic));
    await peer.untilEnd();
  };
  await expectReadFault({}, script, "NBD_PROTOCOL", /not under way/);
});

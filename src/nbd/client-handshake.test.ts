import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { FaultCode } from "../base/fault-table.ts";
import { connectNbd } from "./client.ts";
import { listNbdExports } from "./list.ts";
import { optionReply } from "./protocol.ts";
import { faultOf, type Script } from "./test-admitted.ts";
import {
  blockSizeInfo,
  contextAnswer,
  exportInfo,
  scriptedServer,
  uint64,
} from "./test-hostile-server.ts";
import { lengthPrefixed, uint16, uint32 } from "./wire.ts";

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

import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { command, option, optionError } from "./protocol.ts";
import { contextQuery, exportWish, type ScriptedClient } from "./test-hostile-client.ts";
import { served, sizeBytes } from "./test-served.ts";
import { uint32 } from "./wire.ts";

describe("the server in the handshake", () => {
  test("answers options it does not know, malformed ones and unknown exports, and goes on", async () => {
    await using at = await served();
    await at.client.greet();
    const ask = (kind: number, data?: Uint8Array) => at.client.ask(kind, data);
    assert.deepEqual(await ask(12345), [optionError.unsupported]);
    assert.deepEqual(await ask(option.startTls), [optionError.unsupported]);
    assert.deepEqual(await ask(option.list, Buffer.of(1)), [optionError.invalid]);
    assert.deepEqual(await ask(option.structuredReply, Buffer.of(1)), [optionError.invalid]);
    assert.deepEqual(await ask(option.go, Buffer.alloc(5)), [optionError.invalid]);
    assert.deepEqual(await ask(option.go, uint32(0xffffffff)), [optionError.invalid]);
    const tail = Buffer.concat([exportWish("disk", []), Buffer.of(0)]);
    assert.deepEqual(await ask(option.go, tail), [optionError.invalid]);
    assert.deepEqual(await ask(option.go, exportWish("other", [])), [optionError.unknown]);
    const contexts = contextQuery("disk", ["base:allocation"]);
    assert.deepEqual(await ask(option.setMetaContext, contexts), [optionError.invalid]);
    assert.deepEqual(await ask(option.info, exportWish("disk", [1, 2, 3])), [3, 3, 3, 3, 1]);
    assert.deepEqual(await ask(option.list), [2, 2, 1]);
    assert.deepEqual(await ask(option.go, exportWish("disk", [])), [3, 3, 1]);
    assert.deepEqual(at.incidents, []);
  });

  test("lists and selects base:allocation alone, for the export it is asked for", async () => {
    await using at = await served();
    await at.client.greet();
    assert.deepEqual(await at.client.ask(option.structuredReply), [1]);
    const list = (...queries: string[]) =>
      at.client.ask(option.listMetaContext, contextQuery("disk", queries));
    const set = (...queries: string[]) =>
      at.client.ask(option.setMetaContext, contextQuery("disk", queries));
    assert.deepEqual(await list(), [4, 1]);
    assert.deepEqual(await list("base:"), [4, 1]);
    assert.deepEqual(await list("qemu:"), [1]);
    assert.deepEqual(await set("base:"), [1]);
    assert.deepEqual(await set("base:allocation", "x:y"), [4, 1]);
    // The last selection counts, and this one selects nothing.
    assert.deepEqual(await set("x:y"), [1]);
    assert.equal((await at.client.ask(option.go, exportWish("disk", []))).at(-1), 1);
    at.client.request({ command: command.blockStatus, lengthBytes: 512 });
    const { type, payload } = await at.client.chunk();
    assert.deepEqual([type, payload.readUInt32BE(0)], [0x8001, 22]);
  });

  test("a context selected for one export is not selected for another", async () => {
    await using at = await served();
    await at.client.greet();
    assert.deepEqual(await at.client.ask(option.structuredReply), [1]);
    const query = contextQuery("disk", ["base:allocation"]);
    assert.deepEqual(await at.client.ask(option.setMetaContext, query), [4, 1]);
    assert.equal((await at.client.ask(option.go, exportWish("twin", []))).at(-1), 1);
    at.client.request({ command: command.blockStatus, lengthBytes: 512 });
    assert.equal((await at.client.chunk()).type, 0x8001);
  });

  test("an export that needs block sizes is refused to a client that does not ask for them", async () => {
    const blockSizes = { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 };
    await using at = await served({ found: { blockSizes } });
    await at.client.greet();
    const refused = await at.client.ask(option.go, exportWish("disk", []));
    assert.deepEqual(refused, [optionError.blockSizeRequired]);
    assert.deepEqual(await at.client.ask(option.go, exportWish("disk", [3])), [3, 3, 1]);
    at.client.request({ command: command.read, offsetBytes: 1, lengthBytes: 512 });
    assert.equal((await at.client.simpleReply()).error, 22);
    at.client.request({ command: command.read, lengthBytes: 65_536 + 512 });
    assert.equal((await at.client.simpleReply()).error, 22);
  });

  test("EXPORT_NAME of an old client is answered with 124 zeroes, and leads to transmission", async () => {
    await using at = await served();
    await at.client.greet(0);
    at.client.sendOption(option.exportName, Buffer.from("disk"));
    const answer = await at.client.peer.take(134);
    assert.equal(Number(answer.readBigUInt64BE(0)), sizeBytes);
    assert(answer.subarray(10).every((byte) => byte === 0));
    at.client.request({ command: command.read, lengthBytes: 4 });
    assert.equal((await at.client.simpleReply()).error, 0);
    assert.deepEqual([...(await at.client.peer.take(4))], [5, 5, 5, 5]);
  });

  test("ABORT is acknowledged and ends it", async () => {
    await using at = await served();
    await at.client.greet();
    assert.deepEqual(await at.client.ask(option.abort), [1]);
    await at.client.peer.untilEnd();
  });

  const violations: readonly [
    string,
    (client: ScriptedClient) => void | Promise<void>,
    FaultCode,
  ][] = [
    ["unknown client flags", (client) => client.greet(0x80), "NBD_PROTOCOL"],
    [
      "bad option magic",
      async (client) => {
        await client.greet();
        client.peer.send(Buffer.alloc(16, 1));
      },
      "NBD_PROTOCOL",
    ],
    [
      "an option of 4 GiB",
      async (client) => {
        await client.greet();
        client.peer.send(Buffer.from("IHAVEOPT"), uint32(7), uint32(0xffffffff));
      },
      "NBD_PROTOCOL",
    ],
    [
      "endless options",
      async (client) => {
        await client.greet();
        for (let count = 0; count < 300; count += 1) client.sendOption(999);
      },
      "NBD_PROTOCOL",
    ],
    [
      "EXPORT_NAME of an unknown export",
      async (client) => {
        await client.greet();
        client.sendOption(option.exportName, Buffer.from("other"));
      },
      "NBD_PROTOCOL",
    ],
    [
      "a handshake that drips and never ends",
      async (client) => {
        await client.greet();
        client.peer.send(Buffer.from("IHAVE"));
      },
      "TIMEOUT",
    ],
  ];
  for (const [name, act, code] of violations) {
    test(`${name}: the connection is closed and the incident told`, async () => {
      const limits = code === "TIMEOUT" ? { handshakeMs: 100 } : {};
      await using at = await served({ limits });
      await act(at.client);
      await at.client.peer.untilEnd();
      assert(isFault(at.incidents[0]?.error, code));
      assert.equal(at.server.connectionCount, 0);
    });
  }
});

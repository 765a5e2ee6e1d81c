import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "vitest";
import { Fault, isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { KIB, MIB } from "../base/units.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { command, option, optionError } from "./protocol.ts";
import { serveNbd } from "./server.ts";
import type { NbdServerIncident, NbdServerLimits } from "./server-options.ts";
import { contextQuery, exportWish, ScriptedClient } from "./test-hostile-client.ts";
import { scratchDirectory } from "./test-scratch.ts";
import { uint32 } from "./wire.ts";

const sizeBytes = MIB;

async function served(
  options: { limits?: Partial<NbdServerLimits>; found?: Partial<NbdExport> } = {},
) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const bytes = new Uint8Array(sizeBytes).fill(5, 0, 64 * KIB);
  const memory = memoryExport(bytes, { description: "a disk" });
  const exports = fixedExports(new Map([["disk", { ...memory, ...options.found }]]));
  const incidents: NbdServerIncident[] = [];
  const server = stack.use(
    await serveNbd({
      listen: { path: join(scratch.path, "s") },
      exports,
      limits: { shutdownMs: 100, ...options.limits },
      report: (incident) => incidents.push(incident),
    }),
  );
  const client = stack.use(await ScriptedClient.connect(server.address));
  const held = stack.move();
  return { server, client, bytes, incidents, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

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
    assert.deepEqual(await ask(option.list), [2, 1]);
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

  test("an export that needs block sizes is refused to a client that does not ask for them", async () => {
    const blockSizes = { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 };
    await using at = await served({ found: { blockSizes } });
    await at.client.greet();
    const refused = await at.client.ask(option.go, exportWish("disk", []));
    assert.deepEqual(refused, [optionError.blockSizeRequired]);
    assert.deepEqual(await at.client.ask(option.go, exportWish("disk", [3])), [3, 3, 1]);
    at.client.request({ command: command.read, offsetBytes: 1, lengthBytes: 512 });
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
      await using at = await served({ limits: { handshakeMs: 100 } });
      await act(at.client);
      await at.client.peer.untilEnd();
      assert(isFault(at.incidents[0]?.error, code));
      assert.equal(at.server.connectionCount, 0);
    });
  }
});

describe("the server in the transmission phase", () => {
  test("bad request magic ends the connection", async () => {
    await using at = await served();
    await at.client.enter("disk");
    at.client.request({ command: command.read, magic: 0x12345678, lengthBytes: 1 });
    await at.client.peer.untilEnd();
    assert(isFault(at.incidents[0]?.error, "NBD_PROTOCOL"));
  });

  test("a write of 4 GiB ends the connection before a byte of it is kept", async () => {
    await using at = await served();
    await at.client.enter("disk");
    at.client.request({ command: command.write, lengthBytes: 0xffffffff });
    await at.client.peer.untilEnd();
    assert(isFault(at.incidents[0]?.error, "NBD_PROTOCOL"));
  });

  test("a request that is never sent to its end is given up within the bound", async () => {
    await using at = await served({ limits: { requestMs: 40 } });
    await at.client.enter("disk");
    at.client.request({ command: command.write, lengthBytes: 4096, payload: Buffer.alloc(100) });
    await at.client.peer.untilEnd();
    assert(isFault(at.incidents[0]?.error, "TIMEOUT"));
  });

  test("an idle client is left alone", async () => {
    await using at = await served({ limits: { requestMs: 5 } });
    await at.client.enter("disk");
    await new Promise((resolve) => setTimeout(resolve, 60));
    at.client.request({ command: command.flush });
    assert.equal((await at.client.simpleReply()).error, 0);
  });

  const refusals: readonly [string, Parameters<ScriptedClient["request"]>[0], number][] = [
    ["an unknown command", { command: 77 }, 22],
    ["a flag no command has", { command: command.flush, flags: 0x8000 }, 22],
    ["NO_HOLE on a read", { command: command.read, flags: 2, lengthBytes: 512 }, 22],
    ["DF without structured replies", { command: command.read, flags: 4, lengthBytes: 512 }, 22],
    ["a read of nothing", { command: command.read }, 22],
    ["a read past the end", { command: command.read, offsetBytes: sizeBytes, lengthBytes: 1 }, 22],
    [
      "a read at 2^64 - 1",
      { command: command.read, offsetBytes: 2n ** 64n - 1n, lengthBytes: 9 },
      22,
    ],
    ["a read of 4 GiB", { command: command.read, lengthBytes: 0xffffffff }, 22],
    ["a flush with an offset", { command: command.flush, offsetBytes: 512 }, 22],
    [
      "a trim past the end",
      { command: command.trim, offsetBytes: 512, lengthBytes: sizeBytes },
      22,
    ],
    [
      "zeroes past the end",
      { command: command.writeZeroes, offsetBytes: 512, lengthBytes: sizeBytes },
      28,
    ],
    [
      "a write past the end, its payload skipped",
      { command: command.write, offsetBytes: sizeBytes, lengthBytes: 3, payload: Buffer.alloc(3) },
      28,
    ],
    ["block status without a context", { command: command.blockStatus, lengthBytes: 512 }, 22],
  ];
  test("refuses what cannot be, with the protocol's number, and goes on", async () => {
    await using at = await served();
    await at.client.enter("disk");
    for (const [index, [name, request, error]] of refusals.entries()) {
      at.client.request({ ...request, cookie: index });
      assert.deepEqual(await at.client.simpleReply(), { error, cookie: index }, name);
    }
    assert.deepEqual(at.incidents, []);
    assert(at.bytes.subarray(64 * KIB).every((byte) => byte === 0));
  });

  test("every change of a read-only export is EPERM", async () => {
    await using at = await served({ found: { isReadOnly: true } });
    await at.client.enter("disk");
    for (const kind of [command.write, command.trim, command.writeZeroes]) {
      const payload = kind === command.write ? Buffer.alloc(512) : new Uint8Array(0);
      at.client.request({ command: kind, lengthBytes: 512, payload });
      assert.equal((await at.client.simpleReply()).error, 1);
    }
    assert.equal(at.bytes[0], 5);
  });

  const failures: readonly [unknown, number][] = [
    [new Fault("STORAGE_FULL", "full"), 28],
    [new Fault("STORAGE_DENIED", "denied"), 1],
    [new Fault("DELTA_CORRUPT", "rot"), 5],
    [new Fault("ABORTED", "stopped"), 108],
    [new Error("a bug"), 5],
  ];
  for (const [error, expected] of failures) {
    test(`a failing export: ${String(error)} becomes error ${expected}, and its owner hears of it`, async () => {
      const fail = () => Promise.reject(error);
      await using at = await served({ found: { read: fail, write: fail } });
      await at.client.enter("disk");
      at.client.request({ command: command.read, lengthBytes: 512 });
      assert.equal((await at.client.simpleReply()).error, expected);
      at.client.request({ command: command.write, lengthBytes: 1, payload: Buffer.of(1) });
      assert.equal((await at.client.simpleReply()).error, expected);
      assert.deepEqual(
        at.incidents.map((incident) => incident.error),
        [error, error],
      );
    });
  }

  test("a structured read sends holes as holes, whole with DF, and errors with a name", async () => {
    await using at = await served();
    await at.client.enter("disk", { structured: true });
    const read = { command: command.read, offsetBytes: 32 * KIB, lengthBytes: 64 * KIB };
    at.client.request(read);
    const first = await at.client.chunk();
    const second = await at.client.chunk();
    assert.deepEqual([first.type, first.isLast, first.payload.length], [1, false, 8 + 32 * KIB]);
    assert.deepEqual([second.type, second.isLast, second.payload.length], [2, true, 12]);
    assert.equal(second.payload.readUInt32BE(8), 32 * KIB);
    at.client.request({ ...read, flags: 4 });
    const whole = await at.client.chunk();
    assert.deepEqual([whole.type, whole.isLast, whole.payload.length], [1, true, 8 + 64 * KIB]);
    at.client.request({ ...read, offsetBytes: sizeBytes });
    const error = await at.client.chunk();
    assert.deepEqual([error.type, error.isLast, error.payload.readUInt32BE(0)], [0x8001, true, 22]);
  });

  test("REQ_ONE is answered with one extent", async () => {
    await using at = await served();
    await at.client.greet();
    await at.client.ask(option.structuredReply);
    await at.client.ask(option.setMetaContext, contextQuery("disk", ["base:allocation"]));
    await at.client.ask(option.go, exportWish("disk", []));
    at.client.request({ command: command.blockStatus, flags: 8, lengthBytes: sizeBytes });
    const one = await at.client.chunk();
    assert.deepEqual([...one.payload.subarray(4)], [0, 1, 0, 0, 0, 0, 0, 0]);
    at.client.request({ command: command.blockStatus, lengthBytes: sizeBytes });
    assert.equal((await at.client.chunk()).payload.length, 4 + 2 * 8);
  });
});

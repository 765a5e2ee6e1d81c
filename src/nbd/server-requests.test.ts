import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { Fault, isFault } from "../base/fault.ts";
import { KIB, MIB } from "../base/units.ts";
import { command, option } from "./protocol.ts";
import { contextQuery, exportWish, type ScriptedClient } from "./test-hostile-client.ts";
import { manualClock, served, sizeBytes } from "./test-served.ts";

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

  test("what a client sends beyond the limits stays with the client", async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    let isStarted = false;
    const write = async () => {
      isStarted = true;
      await gate;
    };
    await using at = await served({ limits: { requestsInFlightMax: 1 }, found: { write } });
    await at.client.enter("disk");
    const request = { command: command.write, lengthBytes: MIB, payload: new Uint8Array(MIB) };
    for (let count = 0; count < 32; count += 1) at.client.request(request);
    while (!isStarted) await new Promise((resolve) => setImmediate(resolve));
    for (let round = 0; round < 500; round += 1) await new Promise((go) => setImmediate(go));
    assert(at.client.unsentBytes > 16 * MIB);
    open();
    for (let count = 0; count < 32; count += 1) {
      assert.equal((await at.client.simpleReply()).error, 0);
    }
  });

  test("an idle client is left alone, however long", async () => {
    const { clock, tick } = manualClock();
    await using at = await served({ clock });
    await at.client.enter("disk");
    for (let round = 0; round < 5; round += 1) {
      tick();
      await new Promise((resolve) => setImmediate(resolve));
    }
    at.client.request({ command: command.flush });
    assert.equal((await at.client.simpleReply()).error, 0);
  });

  test("FUA is answered after a flush, and only FUA flushes", async () => {
    const order: string[] = [];
    const write = async () => void order.push("write");
    const zero = async () => void order.push("zero");
    const flush = async () => void order.push("flush");
    await using at = await served({ found: { write, zero, flush } });
    await at.client.enter("disk");
    for (const flags of [0, 1]) {
      const payload = new Uint8Array(1);
      at.client.request({ command: command.write, flags, lengthBytes: 1, payload });
      assert.equal((await at.client.simpleReply()).error, 0);
      at.client.request({ command: command.writeZeroes, flags, lengthBytes: 1 });
      assert.equal((await at.client.simpleReply()).error, 0);
    }
    assert.deepEqual(order, ["write", "zero", "write", "flush", "zero", "flush"]);
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

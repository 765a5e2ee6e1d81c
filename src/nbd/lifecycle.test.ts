import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "vitest";
import { Fault, isFault } from "../base/fault.ts";
import { KIB, MIB } from "../base/units.ts";
import type { NbdAddress } from "./address.ts";
import { connectNbd } from "./client.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { listNbdExports, listNbdMetaContexts } from "./list.ts";
import { memoryExport } from "./memory-export.ts";
import { openNbdPool } from "./pool.ts";
import { command, optionError } from "./protocol.ts";
import { type NbdServerOptions, serveNbd } from "./server.ts";
import { ScriptedClient } from "./test-hostile-client.ts";
import { scriptedServer } from "./test-hostile-server.ts";
import { scratchDirectory } from "./test-scratch.ts";

function patterned(lengthBytes: number): Uint8Array {
  const words = new Uint32Array(lengthBytes / 4).map((_, index) => Math.imul(index, 2_654_435_761));
  return new Uint8Array(words.buffer);
}

async function served(
  found: NbdExport,
  options: Partial<NbdServerOptions> & { listen?: NbdAddress } = {},
) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const exports = fixedExports(new Map([["disk", found]]));
  const listen = { path: join(scratch.path, "s") };
  const server = stack.use(await serveNbd({ listen, exports, ...options }));
  const held = stack.move();
  return { server, address: server.address, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** An export whose reads wait until they are let go. */
function gatedExport(bytes: Uint8Array) {
  const waiting: (() => void)[] = [];
  const started = { count: 0, waiting };
  const memory = memoryExport(bytes);
  const found: NbdExport = {
    ...memory,
    read: async (offsetBytes, into, signal) => {
      started.count += 1;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting.push(resolve);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      await promise;
      await memory.read(offsetBytes, into, signal);
    },
  };
  const release = () => {
    for (const go of waiting.splice(0)) go();
  };
  return { found, started, release };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe("reading", () => {
  test("over TCP on loopback, through a pool, in one piece larger than any request", async () => {
    const bytes = patterned(9 * MIB);
    await using at = await served(memoryExport(bytes), { listen: { host: "127.0.0.1", port: 0 } });
    assert("port" in at.address && at.address.port > 0);
    await using pool = await openNbdPool({ address: at.address, exportName: "disk" });
    assert.equal(pool.clients.length, 2);
    const into = new Uint8Array(bytes.length - 3);
    await pool.read(3, into);
    assert(Buffer.from(into).equals(bytes.subarray(3)));
  });

  test("many reads at once, each in its own buffer, none mixed up", async () => {
    const bytes = patterned(4 * MIB);
    await using at = await served(memoryExport(bytes));
    for (const replies of ["simple", "structured"] as const) {
      await using client = await connectNbd({ address: at.address, exportName: "disk", replies });
      const reads = Array.from({ length: 200 }, (_, index) => ({
        offsetBytes: (index * 7919 * 512) % (3 * MIB),
        into: new Uint8Array(1 + ((index * 104_729) % (300 * KIB))),
      }));
      await Promise.all(reads.map(({ offsetBytes, into }) => client.read(offsetBytes, into)));
      for (const { offsetBytes, into } of reads) {
        assert(Buffer.from(into).equals(bytes.subarray(offsetBytes, offsetBytes + into.length)));
      }
    }
  });

  test("a pool keeps to one connection where the server does not promise one state to several", async () => {
    const found = { ...memoryExport(patterned(MIB)), canMultiConnect: false };
    await using at = await served(found);
    await using pool = await openNbdPool({ address: at.address, exportName: "disk" });
    assert.equal(pool.clients.length, 1);
  });

  test("a read beyond the export is a bug of the caller, not a request", async () => {
    await using at = await served(memoryExport(new Uint8Array(MIB)));
    await using client = await connectNbd({ address: at.address, exportName: "disk" });
    await assert.rejects(client.read(MIB - 1, new Uint8Array(2)), assert.AssertionError);
  });
});

describe("a server that offers little", () => {
  const bare = (bytes: Uint8Array): NbdExport => ({
    sizeBytes: bytes.length,
    isReadOnly: false,
    read: async (offsetBytes, into) =>
      into.set(bytes.subarray(offsetBytes, offsetBytes + into.length)),
    write: async (offsetBytes, from) => bytes.set(from, offsetBytes),
  });

  test("zeroes are written, what cannot be is NBD_REFUSED", async () => {
    const bytes = new Uint8Array(3 * MIB).fill(1);
    await using at = await served(bare(bytes));
    await using client = await connectNbd({ address: at.address, exportName: "disk" });
    await client.zero(5, 2 * MIB);
    assert.deepEqual([bytes[4], bytes[5], bytes[2 * MIB + 4], bytes[2 * MIB + 5]], [1, 0, 0, 1]);
    const refused = (error: unknown) => isFault(error, "NBD_REFUSED");
    await assert.rejects(client.flush(), refused);
    await assert.rejects(client.trim(0, 512), refused);
    await assert.rejects(client.cache(0, 512), refused);
    await assert.rejects(client.zero(0, 512, { isFastOnly: true }), refused);
    await assert.rejects(client.write(0, Buffer.of(1), { isDurable: true }), refused);
  });

  test("without FUA a durable write is followed by a flush", async () => {
    const commands: number[] = [];
    await using server = await scriptedServer(async (peer) => {
      await peer.admit({ sizeBytes: 4096, flags: 0x1 | 0x4 });
      for (;;) {
        const request = await peer.request();
        assert.equal(request.flags, 0);
        commands.push(request.command);
        if (request.command === command.write) await peer.take(request.lengthBytes);
        peer.simple(request.cookie, 0);
      }
    });
    await using client = await connectNbd({ address: server.address });
    await client.write(0, Buffer.of(1, 2, 3), { isDurable: true });
    assert.deepEqual(commands, [command.write, command.flush]);
  });

  test("a server without GO is entered by EXPORT_NAME, one without options at once", async () => {
    for (const flags of [3, 0]) {
      await using server = await scriptedServer(async (peer) => {
        const answered = await peer.greet(flags);
        assert.equal(answered, flags);
        let option = await peer.option();
        if (flags === 3) {
          assert.equal(option.kind, 7);
          peer.answer(option.kind, optionError.unsupported);
          option = await peer.option();
        }
        assert.deepEqual([option.kind, option.data.toString()], [1, "disk"]);
        const padding = Buffer.alloc(flags === 3 ? 0 : 124);
        peer.send(Buffer.from("0000000000002000", "hex"), Buffer.from("0003", "hex"), padding);
        const { cookie } = await peer.request();
        peer.simple(cookie, 0, Buffer.of(42));
        await peer.untilEnd();
      });
      await using client = await connectNbd({ address: server.address, exportName: "disk" });
      assert.equal(client.sizeBytes, 8192);
      assert.equal(client.features.isReadOnly, true);
      const into = new Uint8Array(1);
      await client.read(8191, into);
      assert.equal(into[0], 42);
    }
  });

  test("meta contexts from a server without structured replies are NBD_REFUSED", async () => {
    await using server = await scriptedServer(async (peer) => {
      await peer.greet();
      peer.answer((await peer.option()).kind, optionError.unsupported);
    });
    const connecting = connectNbd({ address: server.address, metaContexts: ["base:allocation"] });
    await assert.rejects(connecting, (error) => isFault(error, "NBD_REFUSED"));
  });
});

describe("limits of the server", () => {
  test("only so many requests are under way, the others wait and all are answered", async () => {
    const { found, started, release } = gatedExport(patterned(MIB));
    await using at = await served(found, { limits: { requestsInFlightMax: 3 } });
    const options = { address: at.address, exportName: "disk", requestsInFlightMax: 50 };
    await using client = await connectNbd(options);
    const reads = Array.from({ length: 10 }, () => client.read(0, new Uint8Array(512)));
    const all = Promise.all(reads);
    await until(() => started.count === 3);
    for (let round = 0; round < 20; round += 1) await new Promise((go) => setImmediate(go));
    assert.equal(started.count, 3);
    while (started.count < 10 || started.waiting.length > 0) {
      release();
      await until(() => started.waiting.length > 0 || started.count === 10);
      assert(started.waiting.length <= 3);
    }
    await all;
  });

  test("only so many bytes are under way, but one request always is", async () => {
    const { found, started, release } = gatedExport(patterned(MIB));
    await using at = await served(found, { limits: { bytesInFlightMax: 100 * KIB } });
    await using client = await connectNbd({ address: at.address, exportName: "disk" });
    const reads = [
      client.read(0, new Uint8Array(60 * KIB)),
      client.read(0, new Uint8Array(60 * KIB)),
      client.read(0, new Uint8Array(500 * KIB)),
    ];
    const all = Promise.all(reads);
    for (let expected = 1; expected <= 3; expected += 1) {
      await until(() => started.waiting.length > 0);
      assert.equal(started.count, expected);
      release();
    }
    await all;
  });

  test("a client that does not take its answers is given up within the bound", async () => {
    const incidents: unknown[] = [];
    await using at = await served(memoryExport(new Uint8Array(8 * MIB)), {
      limits: { requestMs: 40 },
      report: (incident) => incidents.push(incident.error),
    });
    using client = await ScriptedClient.connect(at.address);
    await client.enter("disk");
    client.request({ command: command.read, lengthBytes: 8 * MIB });
    await until(() => at.server.connectionCount === 0);
    assert(isFault(incidents[0], "TIMEOUT"));
  });

  test("one connection too many is closed at once, and there is room again afterwards", async () => {
    const found = memoryExport(new Uint8Array(512));
    await using at = await served(found, { limits: { connectionsMax: 1 } });
    const options = { address: at.address, exportName: "disk" };
    {
      await using _first = await connectNbd(options);
      await assert.rejects(connectNbd(options), (error) => isFault(error, "NBD_CLOSED"));
    }
    await until(() => at.server.connectionCount === 0);
    await using _again = await connectNbd(options);
  });

  test("an address beyond loopback is USAGE", async () => {
    for (const host of ["0.0.0.0", "::", "192.168.1.1", "example.com", "127.0.0.1.example.com"]) {
      const exports = fixedExports(new Map());
      const serving = serveNbd({ listen: { host, port: 0 }, exports });
      await assert.rejects(serving, (error) => isFault(error, "USAGE"));
    }
  });

  test("a path that is taken is USAGE", async () => {
    await using at = await served(memoryExport(new Uint8Array(512)));
    const serving = serveNbd({ listen: at.address, exports: fixedExports(new Map()) });
    await assert.rejects(serving, (error) => isFault(error, "USAGE"));
  });
});

describe("the end", () => {
  test("closing the server answers what is under way, then ends", async () => {
    const bytes = patterned(MIB);
    const { found, started, release } = gatedExport(bytes);
    const at = await served(found);
    const client = await connectNbd({ address: at.address, exportName: "disk" });
    const into = new Uint8Array(1000);
    const reading = client.read(7, into);
    await until(() => started.count === 1);
    const closing = at[Symbol.asyncDispose]();
    release();
    await reading;
    assert(Buffer.from(into).equals(bytes.subarray(7, 1007)));
    await closing;
    const late = client.read(0, new Uint8Array(1));
    await assert.rejects(late, (error) => isFault(error, "NBD_CLOSED"));
    await client[Symbol.asyncDispose]();
    const connecting = connectNbd({ address: at.address });
    await assert.rejects(connecting, (error) => isFault(error, "NBD_UNREACHABLE"));
  });

  test("closing the server does not wait without bound for an export that hangs", async () => {
    const { found, started } = gatedExport(new Uint8Array(512));
    const at = await served(found, { limits: { shutdownMs: 20 } });
    await using client = await connectNbd({ address: at.address, exportName: "disk" });
    const reading = client.read(0, new Uint8Array(1));
    reading.catch(() => {}); // Looked at below.
    await until(() => started.count === 1);
    await at[Symbol.asyncDispose]();
    await assert.rejects(reading, (error) => isFault(error, "NBD_CLOSED"));
  });

  test("aborting the server's signal ends every connection at once, and its socket is gone", async () => {
    const { found, started } = gatedExport(new Uint8Array(512));
    const stop = new AbortController();
    const at = await served(found, { signal: stop.signal });
    await using client = await connectNbd({ address: at.address, exportName: "disk" });
    const reading = client.read(0, new Uint8Array(1));
    const rejected = assert.rejects(reading, (error) => isFault(error, "NBD_CLOSED"));
    await until(() => started.count === 1);
    stop.abort();
    await rejected;
    await at[Symbol.asyncDispose]();
    const connecting = connectNbd({ address: at.address });
    await assert.rejects(connecting, (error) => isFault(error, "NBD_UNREACHABLE"));
  });

  test("a client that goes ends what it asked for", async () => {
    const { found, started } = gatedExport(new Uint8Array(512));
    await using at = await served(found);
    const client = await connectNbd({ address: at.address, exportName: "disk" });
    const reading = client.read(0, new Uint8Array(1));
    reading.catch(() => {}); // Looked at below.
    await until(() => started.count === 1);
    await client[Symbol.asyncDispose]();
    await assert.rejects(reading, (error) => isFault(error, "NBD_CLOSED"));
    await until(() => at.server.connectionCount === 0);
  });

  test("aborting the client's signal rejects with its reason, before, in and after the handshake", async () => {
    const { found, started } = gatedExport(new Uint8Array(512));
    await using at = await served(found);
    const reason = new Fault("ABORTED", "enough");
    const isReason = (error: unknown) => error === reason;
    const before = AbortSignal.abort(reason);
    await assert.rejects(connectNbd({ address: at.address, signal: before }), isReason);
    await using silent = await scriptedServer(async () => {});
    const during = new AbortController();
    const connecting = connectNbd({ address: silent.address, signal: during.signal });
    setImmediate(() => during.abort(reason));
    await assert.rejects(connecting, isReason);
    const after = new AbortController();
    const options = { address: at.address, exportName: "disk", signal: after.signal };
    await using client = await connectNbd(options);
    const reading = client.read(0, new Uint8Array(1));
    await Promise.all([
      assert.rejects(reading, isReason),
      until(() => started.count === 1).then(() => after.abort(reason)),
    ]);
    await assert.rejects(client.read(0, new Uint8Array(1)), isReason);
  });

  test("a request that still waits for its turn is rejected like those under way", async () => {
    await using server = await scriptedServer(async (peer) => {
      await peer.admit({ sizeBytes: 4096 });
      await peer.request();
      peer.end();
    });
    await using client = await connectNbd({ address: server.address, requestsInFlightMax: 1 });
    const reads = [client.read(0, new Uint8Array(1)), client.read(1, new Uint8Array(1))];
    for (const outcome of await Promise.allSettled(reads)) {
      assert(outcome.status === "rejected" && isFault(outcome.reason, "NBD_CLOSED"));
    }
  });

  test("an address that is none is said to be none", async () => {
    const path = `/tmp/${"x".repeat(103)}`;
    const addresses: NbdAddress[] = [{ path }, { host: "127.0.0.1", port: 65_536 }];
    for (const address of addresses) {
      await assert.rejects(connectNbd({ address }), (error) => isFault(error, "NBD_UNREACHABLE"));
      const serving = serveNbd({ listen: address, exports: fixedExports(new Map()) });
      await assert.rejects(serving, (error) => isFault(error, "USAGE"));
    }
  });

  test("nobody listening is NBD_UNREACHABLE", async () => {
    await using scratch = await scratchDirectory();
    for (const address of [{ path: join(scratch.path, "none") }, { host: "127.0.0.1", port: 1 }]) {
      await assert.rejects(connectNbd({ address }), (error) => isFault(error, "NBD_UNREACHABLE"));
    }
  });
});

test("exports and contexts are listed", async () => {
  const found = memoryExport(new Uint8Array(512), { description: "of erp" });
  await using at = await served(found);
  const exports = await listNbdExports({ address: at.address });
  assert.deepEqual(exports, [{ name: "disk", description: "of erp" }]);
  const ask = { address: at.address, exportName: "disk" };
  assert.deepEqual(await listNbdMetaContexts(ask), ["base:allocation"]);
  assert.deepEqual(await listNbdMetaContexts({ ...ask, queries: ["qemu:"] }), []);
  const unknown = listNbdMetaContexts({ ...ask, exportName: "other" });
  await assert.rejects(unknown, (error) => isFault(error, "NBD_REFUSED"));
});

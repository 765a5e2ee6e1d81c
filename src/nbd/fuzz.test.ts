import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import fc from "fast-check";
import { test } from "vitest";
import { isFault } from "../base/fault.ts";
import { KIB } from "../base/units.ts";
import { connectNbd } from "./client.ts";
import { baseAllocation, command, option } from "./protocol.ts";
import { contextQuery, exportWish } from "./test-hostile-client.ts";
import { scriptedServer, uint64 } from "./test-hostile-server.ts";
import { served, sizeBytes } from "./test-served.ts";
import { uint16, uint32 } from "./wire.ts";

/** Bytes to overwrite, by place (a share of the whole) and value. */
const damage = fc.array(
  fc.record({ place: fc.double({ min: 0, max: 1, noNaN: true }), value: fc.nat(255) }),
  {
    minLength: 1,
    maxLength: 4,
  },
);

function damaged(
  stream: Uint8Array,
  wounds: readonly { place: number; value: number }[],
): Uint8Array {
  const bytes = Buffer.from(stream);
  for (const { place, value } of wounds) {
    bytes[Math.min(bytes.length - 1, Math.floor(place * bytes.length))] = value;
  }
  return bytes;
}

/** What a good server says to a client that selects a context, reads 4 KiB and asks for status. */
function goodServerStream() {
  const reply = (kind: number, type: number, data: Uint8Array = new Uint8Array(0)) =>
    Buffer.concat([
      uint64(0x3e889045565a9n),
      uint32(kind),
      uint32(type),
      uint32(data.length),
      data,
    ]);
  const chunk = (index: number, type: number, payload: Buffer) => {
    const cookie = Buffer.concat([uint32(1), uint32(index)]);
    const header = [uint32(0x668e33ef), uint16(1), uint16(type), cookie, uint32(payload.length)];
    return Buffer.concat([...header, payload]);
  };
  const context = Buffer.concat([uint32(1), Buffer.from(baseAllocation)]);
  const size = Buffer.concat([uint16(0), uint64(64 * KIB), uint16(0x1ed)]);
  const handshake = Buffer.concat([
    Buffer.from("NBDMAGICIHAVEOPT"),
    uint16(3),
    reply(option.structuredReply, 1),
    reply(option.setMetaContext, 4, context),
    reply(option.setMetaContext, 1),
    reply(option.go, 3, size),
    reply(option.go, 1),
  ]);
  const replies = Buffer.concat([
    chunk(0, 1, Buffer.concat([uint64(0), Buffer.alloc(4 * KIB, 6)])),
    chunk(
      1,
      5,
      Buffer.concat([uint32(1), uint32(4 * KIB), uint32(0), uint32(60 * KIB), uint32(3)]),
    ),
  ]);
  return { handshake, replies };
}

test("a server's bytes, damaged anywhere, give a Fault or an answer, never anything else and never a hang", async () => {
  const good = goodServerStream();
  let sent: { readonly handshake: Uint8Array; readonly replies: Uint8Array | null } = good;
  await using server = await scriptedServer(async (peer) => {
    peer.send(sent.handshake);
    if (sent.replies !== null) {
      await peer.take(4);
      for (let count = 0; count < 3; count += 1) await peer.option();
      for (let count = 0; count < 2; count += 1) await peer.request();
      peer.send(sent.replies);
    }
    peer.end();
    await peer.untilEnd();
  });
  const talk = async () => {
    const metaContexts = [baseAllocation];
    const timeouts = { handshakeMs: 20_000, replyMs: 20_000 };
    await using client = await connectNbd({ address: server.address, metaContexts, timeouts });
    const reading = client.read(0, new Uint8Array(4 * KIB));
    const asking = Array.fromAsync(client.status(0, 64 * KIB));
    const outcomes = await Promise.allSettled([reading, asking]);
    return outcomes.filter((outcome) => outcome.status === "rejected").map(({ reason }) => reason);
  };
  assert.deepEqual(await talk(), []);
  await fc.assert(
    fc.asyncProperty(damage, fc.boolean(), async (wounds, isEarly) => {
      sent = isEarly
        ? { handshake: damaged(good.handshake, wounds), replies: null }
        : { handshake: good.handshake, replies: damaged(good.replies, wounds) };
      const errors = await talk().catch((error: unknown) => [error]);
      for (const error of errors) assert(isFault(error), String(error));
    }),
    { numRuns: 150 },
  );
});

/** All that a good client says that selects a context, writes, reads, asks for status and goes. */
function goodClientStream(): Buffer {
  const ask = (kind: number, data: Uint8Array = new Uint8Array(0)) =>
    Buffer.concat([Buffer.from("IHAVEOPT"), uint32(kind), uint32(data.length), data]);
  const request = (kind: number, lengthBytes: number, payload: Uint8Array = new Uint8Array(0)) => {
    const header = [uint32(0x25609513), uint16(0), uint16(kind), uint64(kind), uint64(4 * KIB)];
    return Buffer.concat([...header, uint32(lengthBytes), payload]);
  };
  return Buffer.concat([
    uint32(3),
    ask(option.structuredReply),
    ask(option.listMetaContext, contextQuery("disk", [])),
    ask(option.setMetaContext, contextQuery("disk", [baseAllocation])),
    ask(option.list),
    ask(option.info, exportWish("disk", [1, 2, 3])),
    ask(option.go, exportWish("disk", [3])),
    request(command.write, 600, Buffer.alloc(600, 1)),
    request(command.read, 64 * KIB),
    request(command.writeZeroes, 4 * KIB),
    request(command.trim, 4 * KIB),
    request(command.blockStatus, 512 * KIB),
    request(command.disconnect, 0),
  ]);
}

test("a client's bytes, damaged anywhere, hurt nobody but that client", async () => {
  await using at = await served();
  const stream = goodClientStream();
  const talk = async (bytes: Uint8Array) => {
    assert("path" in at.server.address);
    const socket = net.connect({ path: at.server.address.path });
    socket.on("error", () => {}); // The server may slam the door.
    socket.resume();
    socket.end(bytes);
    await once(socket, "close");
  };
  await talk(stream);
  assert.deepEqual(at.incidents, []);
  await fc.assert(
    fc.asyncProperty(damage, async (wounds) => {
      at.incidents.length = 0;
      await talk(damaged(stream, wounds));
      for (const { error } of at.incidents) assert(isFault(error), String(error));
      await using client = await connectNbd({ address: at.server.address, exportName: "disk" });
      await client.read(sizeBytes - 1, new Uint8Array(1));
    }),
    { numRuns: 150 },
  );
});

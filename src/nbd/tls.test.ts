import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { credentialsForTest } from "../../test/support/tls-credentials.ts";
import { connectNbd } from "./client.ts";
import { listNbdExports } from "./list.ts";
import { option, optionError, optionReply } from "./protocol.ts";
import { serveNbd } from "./server.ts";
import { faultOf } from "./test-admitted.ts";
import { exportWish } from "./test-hostile-client.ts";
import { scriptedServer, uint64 } from "./test-hostile-server.ts";
import { manualClock, served, sizeBytes } from "./test-served.ts";
import { uint32 } from "./wire.ts";

const startTls = Buffer.concat([uint64(0x49484156454f5054n), uint32(option.startTls), uint32(0)]);

describe("a server with TLS", () => {
  test("serves who holds a reader's certificate: listing, reading, writing, many at once", async () => {
    const { server: tls, client } = await credentialsForTest();
    await using at = await served({ tls });
    const dial = { address: at.server.address, tls: { ...client, serverName: "localhost" } };
    const names = (await listNbdExports(dial)).map(({ name }) => name);
    assert.deepEqual(names, ["disk", "twin"]);
    await using nbd = await connectNbd({ ...dial, exportName: "disk" });
    const parts = Array.from({ length: 32 }, () => new Uint8Array(sizeBytes / 32));
    await Promise.all(parts.map((part, index) => nbd.read(index * part.length, part)));
    assert(Buffer.concat(parts).equals(at.bytes));
    const content = new Uint8Array(300_000).map((_, index) => index % 251);
    await nbd.write(77, content);
    assert(Buffer.from(at.bytes.subarray(77, 77 + content.length)).equals(content));
    assert.deepEqual(at.incidents, []);
  });

  test("refuses everything else before TLS, and tells no names", async () => {
    const { server: tls } = await credentialsForTest();
    await using at = await served({ tls });
    await at.client.greet();
    const { tlsRequired, invalid } = optionError;
    assert.deepEqual(await at.client.ask(option.list), [tlsRequired]);
    assert.deepEqual(await at.client.ask(option.structuredReply), [tlsRequired]);
    assert.deepEqual(await at.client.ask(option.go, exportWish("disk", [])), [tlsRequired]);
    assert.deepEqual(await at.client.ask(option.startTls, Buffer.of(1)), [invalid]);
    at.client.sendOption(option.exportName, Buffer.from("disk"));
    await at.client.peer.untilEnd();
    assert.equal(at.incidents[0]?.kind, "client broke the protocol");
  });

  test("takes nothing from the clear into TLS", async () => {
    const { server: tls } = await credentialsForTest();
    await using at = await served({ tls });
    await at.client.greet();
    at.client.peer.send(startTls, startTls);
    await at.client.peer.untilEnd();
    assert.match(String(at.incidents[0]?.error), /bytes between STARTTLS and TLS/);
  });

  test("a client that speaks no TLS after STARTTLS is gone, and the log says so", async () => {
    const { server: tls } = await credentialsForTest();
    await using at = await served({ tls });
    await at.client.greet();
    at.client.peer.send(startTls);
    await at.client.answer();
    at.client.peer.send(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    await at.client.peer.untilEnd();
    assert.equal(at.incidents[0]?.kind, "client refused");
  });

  test("a client without a certificate learns no more than that the connection ended", async () => {
    const { server: tls, client } = await credentialsForTest();
    await using at = await served({ tls });
    const { authorityPem } = client;
    const dial = { address: at.server.address, tls: { authorityPem, serverName: "localhost" } };
    const fault = await faultOf(connectNbd({ ...dial, exportName: "disk" }));
    assert.equal(fault.code, "NBD_CLOSED");
    assert.match(String(at.incidents[0]?.error), /showed no certificate/);
  });

  test("a client that was revoked while it read is cut at the next look", async () => {
    const { server: tls, client } = await credentialsForTest();
    const { clock, tick } = manualClock();
    let revoked: string | null = null;
    const refusalOf: typeof tls.refusalOf = async (certificate) =>
      revoked ?? (await tls.refusalOf(certificate));
    await using at = await served({ tls: { ...tls, refusalOf }, clock });
    const dial = { address: at.server.address, tls: { ...client, serverName: "localhost" } };
    await using nbd = await connectNbd({ ...dial, exportName: "disk" });
    await nbd.read(0, new Uint8Array(512)); // The server has left the handshake then, and its bound.
    tick();
    await nbd.read(0, new Uint8Array(512));
    revoked = "a revoked certificate";
    tick();
    // The other client, which says nothing, is late by this clock too.
    const isCut = () => at.incidents.some(({ kind }) => kind === "client refused");
    while (!isCut()) await new Promise((go) => setImmediate(go));
    assert.equal((await faultOf(nbd.read(0, new Uint8Array(512)))).code, "NBD_CLOSED");
  });

  test("without TLS no other host is served", async () => {
    const exports = { find: async () => null, list: async () => [] };
    const listen = { host: "0.0.0.0", port: 0 };
    const fault = await faultOf(serveNbd({ listen, exports }));
    assert.equal(fault.code, "USAGE");
    assert.match(fault.message, /over TLS alone/);
  });
});

describe("a client that wants TLS", () => {
  test("never goes on in the clear when the server has no TLS", async () => {
    const { client } = await credentialsForTest();
    await using at = await served();
    const dial = { address: at.server.address, tls: client };
    const fault = await faultOf(connectNbd({ ...dial, exportName: "disk" }));
    assert.equal(fault.code, "NBD_REFUSED");
  });

  test("takes nothing from the clear into TLS", async () => {
    const { client } = await credentialsForTest();
    await using server = await scriptedServer(async (peer) => {
      await peer.greet();
      await peer.take(16);
      const reply = [uint64(0x3e889045565a9n), uint32(option.startTls), uint32(optionReply.ack)];
      peer.send(...reply, uint32(0), Buffer.from("injected"));
      await peer.untilEnd();
    });
    const fault = await faultOf(connectNbd({ address: server.address, tls: client }));
    assert.equal(fault.code, "NBD_PROTOCOL");
    assert.match(fault.message, /bytes between STARTTLS and TLS/);
  });

  test("believes only its authority, and only the name it asked for", async () => {
    const { server: tls, client } = await credentialsForTest();
    const other = await credentialsForTest();
    await using at = await served({ tls });
    const { address } = at.server;
    const { authorityPem } = other.client;
    const ofOther = { ...client, authorityPem, serverName: "localhost" };
    assert.equal((await faultOf(connectNbd({ address, tls: ofOther }))).code, "PEER_REFUSED");
    const elsewhere = { ...client, serverName: "elsewhere.example" };
    assert.equal((await faultOf(connectNbd({ address, tls: elsewhere }))).code, "PEER_REFUSED");
  });
});

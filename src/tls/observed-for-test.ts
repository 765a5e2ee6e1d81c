import net from "node:net";
import tls from "node:tls";
import { onTestFinished } from "vitest";
import type { SiteAddress, TlsIdentity } from "./identity.ts";

/** All that a client can see of a server that refuses it. */
export interface Observed {
  /** Whether the TLS handshake came to its end, as the client sees it. */
  readonly isEstablished: boolean;
  /** Records that came after the handshake's own, decrypted. */
  readonly applicationBytes: number;
  /** Alerts and errors, by their codes; none when the connection just ended. */
  readonly errors: readonly string[];
}

/** Connects, waits for the end, and says what was seen; what the peer sends afterwards is nothing. */
export async function observeTls(
  address: SiteAddress,
  identity: TlsIdentity | null,
  options: tls.ConnectionOptions = {},
): Promise<Observed> {
  const errors: string[] = [];
  let isEstablished = false;
  let applicationBytes = 0;
  const socket = tls.connect({
    ...address,
    ALPNProtocols: ["afterimage/1"],
    rejectUnauthorized: false,
    ...(identity === null ? {} : { key: identity.privateKeyPem, cert: identity.certificatePem }),
    ...options,
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("secureConnect", () => (isEstablished = true));
  socket.on("data", (bytes: Buffer) => (applicationBytes += bytes.length));
  socket.on("error", (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message));
  socket.on("close", () => resolve());
  await promise;
  return { isEstablished, applicationBytes, errors };
}

/** Sends bytes in the clear and gives all that came back until the end. */
export async function observePlain(
  address: SiteAddress,
  pieces: readonly Uint8Array[],
): Promise<{ readonly received: Buffer }> {
  const received: Buffer[] = [];
  const socket = net.connect({ ...address, noDelay: true });
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("data", (bytes: Buffer) => received.push(bytes));
  socket.on("error", () => {}); // A reset is an end like any other.
  socket.on("close", () => resolve());
  for (const piece of pieces) socket.write(piece);
  await promise;
  return { received: Buffer.concat(received) };
}

/** The first record of this Node's own TLS, as it leaves the socket. */
export async function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const server = net.createServer((socket) => {
    let seen: Buffer = Buffer.alloc(0);
    socket.on("error", () => {}); // The client is destroyed below.
    socket.on("data", (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes]);
      if (seen.length >= 5 && seen.length >= 5 + seen.readUInt16BE(3)) resolve(seen);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const client = tls.connect({ host: "127.0.0.1", port: address.port, ...options });
  client.on("error", () => {}); // Nobody answers.
  const hello = await promise;
  client.destroy();
  return hello;
}

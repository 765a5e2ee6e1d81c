import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

// hostile-peer.ts HOST PORT IDENTITY_FILE: connects to a vault in every wrong way at once and prints one line of JSON: for each way
// how many bytes the vault said inside the connection, and whether it ended it by itself within the bound.

const endsWithinMs = 25_000;
const [host, port, identityFile] = process.argv.slice(2) as [string, string, string];
const identity = JSON.parse(readFileSync(identityFile, "utf8")) as {
  readonly privateKeyPem: string;
  readonly certificatePem: string;
  readonly authorityPem: string;
};
const enrolled = { key: identity.privateKeyPem, cert: identity.certificatePem };
const at = { host, port: Number(port) };
const link = { ...at, rejectUnauthorized: false, ALPNProtocols: ["afterimage/1"] };

interface Outcome {
  readonly saidBytes: number;
  readonly isEndedByVault: boolean;
}

/** Sends what `say` gives once connected, then only listens. */
function watch(
  socket: net.Socket,
  connected: "connect" | "secureConnect",
  say: () => readonly Uint8Array[],
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  let saidBytes = 0;
  const timer = setTimeout(() => {
    resolve({ saidBytes, isEndedByVault: false });
    socket.destroy();
  }, endsWithinMs);
  socket.on("data", (bytes: Buffer) => {
    saidBytes += bytes.length;
  });
  socket.on("error", () => {}); // "close" follows.
  socket.on("close", () => {
    clearTimeout(timer);
    resolve({ saidBytes, isEndedByVault: true });
  });
  socket.on(connected, () => {
    for (const part of say()) socket.write(part);
  });
  return promise;
}

const plain = (say: () => readonly Uint8Array[]) => watch(net.connect(at), "connect", say);
const secure = (options: tls.ConnectionOptions, say: () => readonly Uint8Array[]) =>
  watch(tls.connect({ ...link, ...options }), "secureConnect", say);
const nothing = () => [];
const noise = () => Array.from({ length: 16 }, () => randomBytes(65_536));
/** Little or big endian, four bytes or eight: the largest length there is. */
const oversized = () => [Buffer.alloc(64, 0xff), ...noise()];

const outcomes = {
  "says nothing": plain(nothing),
  "says noise": plain(noise),
  "speaks HTTP": plain(() => [Buffer.from("GET / HTTP/1.1\r\nHost: vault\r\n\r\n")]),
  "TLS without a certificate": secure({}, noise),
  "TLS 1.2 with its certificate": secure({ ...enrolled, maxVersion: "TLSv1.2" }, noise),
  "its certificate and silence": secure(enrolled, nothing),
  "its certificate and noise": secure(enrolled, noise),
  "its certificate and oversized lengths": secure(enrolled, oversized),
};

const told: Record<string, Outcome> = {};
for (const [name, outcome] of Object.entries(outcomes)) told[name] = await outcome;
process.stdout.write(`${JSON.stringify(told)}\n`);

import { firstRecordBytesMax } from "./tls-limits.ts";

/** What a peer's first bytes came to. */
export type FirstBytes =
  | { readonly state: "incomplete" }
  | { readonly state: "refused"; readonly reason: string }
  | { readonly state: "hello"; readonly protocols: readonly string[] };

// RFC 8446: 5.1 (record), 4 (handshake), 4.1.2 (ClientHello), 4.2 (extensions).
const handshakeRecord = 22;
const recordHeaderBytes = 5;
const clientHello = 1;
const handshakeHeaderBytes = 4;
const randomBytes = 32;
const supportedVersions = 43;
const applicationProtocols = 16;
const tls13 = 0x0304;

/**
 * Looks at the first record before TLS does. A peer that speaks no TLS 1.3, or nothing of ours, is closed without a byte:
 * TLS itself would answer with an alert that says why.
 */
export function readFirstBytes(bytes: Buffer): FirstBytes {
  if (bytes.length >= 1 && bytes[0] !== handshakeRecord) return refused("no TLS");
  if (bytes.length < recordHeaderBytes) return { state: "incomplete" };
  const lengthBytes = bytes.readUInt16BE(3);
  if (bytes[1] !== 3 || lengthBytes > firstRecordBytesMax - recordHeaderBytes) {
    return refused("no TLS");
  }
  if (bytes.length < recordHeaderBytes + lengthBytes) return { state: "incomplete" };
  try {
    return readHello(bytes.subarray(recordHeaderBytes, recordHeaderBytes + lengthBytes));
  } catch (error) {
    if (error instanceof RangeError) return refused("a malformed ClientHello");
    throw error;
  }
}

/** Throws RangeError where a length points beyond the end. */
function readHello(record: Buffer): FirstBytes {
  const reader = new Reader(record);
  if (reader.number(1) !== clientHello) return refused("no ClientHello");
  if (reader.number(3) > record.length - handshakeHeaderBytes) {
    return refused("a ClientHello in several records");
  }
  reader.skip(2 + randomBytes);
  reader.vector(1); // Session id.
  reader.vector(2); // Cipher suites.
  reader.vector(1); // Compression methods.
  const extensions = reader.isAtEnd ? new Reader(Buffer.alloc(0)) : reader.vector(2);
  let speaksTls13 = false;
  const protocols: string[] = [];
  while (!extensions.isAtEnd) {
    const kind = extensions.number(2);
    const data = extensions.vector(2);
    if (kind === supportedVersions) {
      const versions = data.vector(1);
      while (!versions.isAtEnd) speaksTls13 = versions.number(2) === tls13 || speaksTls13;
    }
    if (kind === applicationProtocols) {
      const names = data.vector(2);
      while (!names.isAtEnd) protocols.push(names.vector(1).text());
    }
  }
  if (!speaksTls13) return refused("a TLS older than 1.3");
  return { state: "hello", protocols };
}

function refused(reason: string): FirstBytes {
  return { state: "refused", reason };
}

/** Reads big-endian numbers and vectors with a length before them; throws RangeError beyond the end. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(widthBytes: number): number {
    const value = this.#bytes.readUIntBE(this.#at, widthBytes);
    this.#at += widthBytes;
    return value;
  }

  skip(lengthBytes: number): void {
    if (this.#at + lengthBytes > this.#bytes.length) throw new RangeError("beyond the end");
    this.#at += lengthBytes;
  }

  vector(widthBytes: number): Reader {
    const lengthBytes = this.number(widthBytes);
    const start = this.#at;
    this.skip(lengthBytes);
    return new Reader(this.#bytes.subarray(start, this.#at));
  }

  text(): string {
    return this.#bytes.toString("latin1");
  }
}

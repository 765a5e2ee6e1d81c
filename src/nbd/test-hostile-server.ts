import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import type { NbdAddress } from "./address.ts";
import {
  greetingMagic,
  info,
  optionMagic,
  optionReply,
  optionReplyMagic,
  requestHeaderBytes,
  requestMagic,
  simpleReplyMagic,
  structuredReplyMagic,
} from "./protocol.ts";
import { scratchDirectory } from "./test-scratch.ts";
import { uint16, uint32, writeUint64 } from "./wire.ts";

/** Bytes of one hand-written server's connection: what the client sent can be read, anything can be answered. */
export class ScriptedPeer {
  readonly #socket: net.Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  #pending = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => {}); // The client slams the door in most tests.
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** Exactly so many bytes; rejects when the other side ended before. */
  async take(lengthBytes: number): Promise<Buffer> {
    while (this.#pending.length < lengthBytes) {
      const next = await this.#chunks.next();
      if (next.done) throw new Error("the other side ended");
      this.#pending = Buffer.concat([this.#pending, next.value]);
    }
    const taken = this.#pending.subarray(0, lengthBytes);
    this.#pending = this.#pending.subarray(lengthBytes);
    return taken;
  }

  /** Resolves when the other side has ended, politely or not. */
  async untilEnd(): Promise<void> {
    try {
      while (!(await this.#chunks.next()).done);
    } catch {
      // EPIPE or ECONNRESET: it ended while this side was still talking.
    }
  }

  send(...parts: readonly Uint8Array[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  end(): void {
    this.#socket.end();
  }

  /** The greeting of a fixed newstyle server, and the client's flags. */
  async greet(flags = 3): Promise<number> {
    this.send(uint64(greetingMagic), uint64(optionMagic), uint16(flags));
    return (await this.take(4)).readUInt32BE(0);
  }

  /** The next option. */
  async option(): Promise<{ readonly kind: number; readonly data: Buffer }> {
    const header = await this.take(16);
    assert.equal(header.readBigUInt64BE(0), optionMagic);
    return { kind: header.readUInt32BE(8), data: await this.take(header.readUInt32BE(12)) };
  }

  answer(kind: number, type: number, data: Uint8Array = new Uint8Array(0)): void {
    this.send(uint64(optionReplyMagic), uint32(kind), uint32(type), uint32(data.length), data);
  }

  /** Greets, accepts every option, selects the contexts, and enters transmission with an export like this. */
  async admit(options: {
    sizeBytes: number;
    flags?: number;
    contexts?: readonly string[];
    blockSizes?: readonly [minimum: number, preferred: number, maximum: number];
  }) {
    await this.greet();
    for (;;) {
      const { kind } = await this.option();
      if (kind === 10) {
        for (const [index, name] of (options.contexts ?? []).entries()) {
          this.answer(kind, optionReply.metaContext, contextAnswer(index + 1, name));
        }
      }
      if (kind === 7) {
        this.answer(kind, optionReply.info, exportInfo(options));
        const sizes = options.blockSizes;
        if (sizes !== undefined) this.answer(kind, optionReply.info, blockSizeInfo(...sizes));
      }
      this.answer(kind, optionReply.ack);
      if (kind === 7) return;
    }
  }

  /** The next request's header. */
  async request() {
    const header = Buffer.from(await this.take(requestHeaderBytes));
    assert.equal(header.readUInt32BE(0), requestMagic);
    return {
      flags: header.readUInt16BE(4),
      command: header.readUInt16BE(6),
      cookie: header.subarray(8, 16),
      offsetBytes: Number(header.readBigUInt64BE(16)),
      lengthBytes: header.readUInt32BE(24),
    };
  }

  simple(cookie: Uint8Array, error: number, payload: Uint8Array = new Uint8Array(0)): void {
    this.send(uint32(simpleReplyMagic), uint32(error), cookie, payload);
  }

  chunk(cookie: Uint8Array, type: number, payload: Uint8Array, isLast = true): void {
    const header = [uint32(structuredReplyMagic), uint16(isLast ? 1 : 0), uint16(type), cookie];
    this.send(...header, uint32(payload.length), payload);
  }
}

export function uint64(value: bigint | number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function contextAnswer(id: number, name: string): Buffer {
  return Buffer.concat([uint32(id), Buffer.from(name)]);
}

export function exportInfo(options: { sizeBytes: number; flags?: number }): Buffer {
  const size = Buffer.alloc(8);
  writeUint64(size, options.sizeBytes, 0);
  return Buffer.concat([uint16(info.export), size, uint16(options.flags ?? 0xd6d)]);
}

export function blockSizeInfo(minimum: number, preferred: number, maximum: number): Buffer {
  const sizes = [minimum, preferred, maximum].map(uint32);
  return Buffer.concat([uint16(info.blockSize), ...sizes]);
}

/** A server on a socket of its own that plays `script` to every client; what the script throws is forgotten. */
export async function scriptedServer(
  script: (peer: ScriptedPeer) => Promise<void>,
): Promise<AsyncDisposable & { readonly address: NbdAddress }> {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const path = join(scratch.path, "s");
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    script(new ScriptedPeer(socket)).catch(() => {}); // Its client has seen enough.
  });
  server.listen(path);
  await once(server, "listening");
  stack.defer(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const held = stack.move();
  return { address: { path }, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import type { NbdAddress } from "./address.ts";
import { greetingMagic, optionMagic, optionReplyMagic, requestMagic } from "./protocol.ts";
import { ScriptedPeer, uint64 } from "./test-hostile-server.ts";
import { lengthPrefixed, uint16, uint32 } from "./wire.ts";

/** A hand-written client: what it sends is what the test says, byte by byte. */
export class ScriptedClient {
  readonly peer: ScriptedPeer;
  readonly #socket: net.Socket;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    this.peer = new ScriptedPeer(socket);
  }

  static async connect(address: NbdAddress): Promise<ScriptedClient> {
    const socket = net.connect({ ...address });
    await once(socket, "connect");
    return new ScriptedClient(socket);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  /** Bytes sent that the server has not taken from the kernel yet, nor the kernel from us. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  async greet(flags = 3): Promise<void> {
    const greeting = await this.peer.take(18);
    assert.equal(greeting.readBigUInt64BE(0), greetingMagic);
    assert.equal(greeting.readBigUInt64BE(8), optionMagic);
    assert.equal(greeting.readUInt16BE(16), 3);
    this.peer.send(uint32(flags));
  }

  sendOption(kind: number, data: Uint8Array = new Uint8Array(0)): void {
    this.peer.send(uint64(optionMagic), uint32(kind), uint32(data.length), data);
  }

  async answer(): Promise<{ readonly kind: number; readonly type: number; readonly data: Buffer }> {
    const header = await this.peer.take(20);
    assert.equal(header.readBigUInt64BE(0), optionReplyMagic);
    const data = await this.peer.take(header.readUInt32BE(16));
    return { kind: header.readUInt32BE(8), type: header.readUInt32BE(12), data };
  }

  /** Sends an option and reads answers up to ACK or an error; gives the types. */
  async ask(kind: number, data?: Uint8Array): Promise<readonly number[]> {
    this.sendOption(kind, data);
    const types: number[] = [];
    for (;;) {
      const { type } = await this.answer();
      types.push(type);
      if (type === 1 || type >= 0x80000000) return types;
    }
  }

  /** Greets and enters transmission by GO; with structured replies when asked. */
  async enter(exportName: string, options: { structured?: boolean } = {}): Promise<void> {
    await this.greet();
    if (options.structured) assert.deepEqual(await this.ask(8), [1]);
    const types = await this.ask(7, exportWish(exportName, [3]));
    assert.equal(types.at(-1), 1);
  }

  request(options: {
    command: number;
    flags?: number;
    offsetBytes?: number | bigint;
    lengthBytes?: number;
    cookie?: number;
    magic?: number;
    payload?: Uint8Array;
  }): void {
    this.peer.send(
      uint32(options.magic ?? requestMagic),
      uint16(options.flags ?? 0),
      uint16(options.command),
      uint64(options.cookie ?? 1),
      uint64(options.offsetBytes ?? 0),
      uint32(options.lengthBytes ?? 0),
      options.payload ?? new Uint8Array(0),
    );
  }

  /** A simple reply's error number and cookie. */
  async simpleReply(): Promise<{ readonly error: number; readonly cookie: number }> {
    const header = await this.peer.take(16);
    assert.equal(header.readUInt32BE(0), 0x67446698);
    return { error: header.readUInt32BE(4), cookie: Number(header.readBigUInt64BE(8)) };
  }

  /** One chunk of a structured reply. */
  async chunk() {
    const header = await this.peer.take(20);
    assert.equal(header.readUInt32BE(0), 0x668e33ef);
    const payload = await this.peer.take(header.readUInt32BE(16));
    const isLast = header.readUInt16BE(4) === 1;
    return { isLast, type: header.readUInt16BE(6), payload };
  }
}

/** Data of INFO and GO. */
export function exportWish(exportName: string, infos: readonly number[]): Buffer {
  return Buffer.concat([lengthPrefixed(exportName), uint16(infos.length), ...infos.map(uint16)]);
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function contextQuery(exportName: string, queries: readonly string[]): Buffer {
  const texts = queries.map((query) => lengthPrefixed(query));
  return Buffer.concat([lengthPrefixed(exportName), uint32(queries.length), ...texts]);
}

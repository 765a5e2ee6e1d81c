import type { NbdExport, NbdExports } from "./export.ts";
import { optionBytesMax, optionsMax, stringBytesMax } from "./limits.ts";
import {
  baseAllocation,
  exportNamePaddingBytes,
  greetingMagic,
  handshakeFlag,
  info,
  option,
  optionError,
  optionHeaderBytes,
  optionMagic,
  optionReply,
  optionReplyHeaderBytes,
  optionReplyMagic,
} from "./protocol.ts";
import { blockSizesOf, transmissionFlagsOf } from "./server-flags.ts";
import { parseContextQuery, parseExportWish } from "./server-option-data.ts";
import { clientViolation, type ServerSocket } from "./server-socket.ts";
import type { NbdServerTls } from "./server-tls.ts";
import { lengthPrefixed, readText, uint16, uint32, writeUint64 } from "./wire.ts";

/** What a client has chosen when it enters the transmission phase. */
export interface Session {
  readonly exportName: string;
  readonly found: NbdExport;
  readonly hasStructuredReplies: boolean;
  /** base:allocation was selected for this export. */
  readonly hasAllocation: boolean;
}

/** The id of base:allocation, the only context this server has. */
export const allocationContextId = 1;

/**
 * The server's half of the handshake:
 *
 *   greeting ──▶ client flags ──▶ option ─┬─ GO, EXPORT_NAME of a known export ──▶ session
 *                                  ▲      ├─ ABORT ──▶ null
 *                                  └──────┴─ any other, also a refused one
 *
 * A server with TLS refuses all but STARTTLS and ABORT until TLS stands. Rejects with NBD_PROTOCOL when the client makes no sense, NBD_CLOSED when it goes.
 */
export async function negotiateSession(
  socket: ServerSocket,
  exports: NbdExports,
  tls: NbdServerTls | null,
): Promise<Session | null> {
  return await new Handshake(socket, exports, tls).run();
}

class Handshake {
  readonly #socket: ServerSocket;
  readonly #exports: NbdExports;
  /** What has to be done before anything else is answered; null when nothing, or when it was done. */
  #tlsDue: NbdServerTls | null;
  readonly #hasTls: boolean;
  #omitsZeroes = false;
  #hasStructuredReplies = false;
  /** The export for which base:allocation is selected. */
  #allocationOf: string | null = null;

  constructor(socket: ServerSocket, exports: NbdExports, tls: NbdServerTls | null) {
    this.#socket = socket;
    this.#exports = exports;
    this.#tlsDue = tls;
    this.#hasTls = tls !== null;
  }

  async run(): Promise<Session | null> {
    await this.#greet();
    for (let count = 0; count < optionsMax; count += 1) {
      const { kind, data } = await this.#readOption();
      if (kind === option.abort) {
        await this.#reply(kind, optionReply.ack);
        return null;
      }
      if (this.#tlsDue !== null) {
        await this.#secure(kind, data, this.#tlsDue);
        continue;
      }
      if (kind === option.exportName) return await this.#chooseByName(data);
      const session = await this.#answer(kind, data);
      if (session !== null) return session;
    }
    throw clientViolation(`more than ${optionsMax} options`);
  }

  async #greet(): Promise<void> {
    const greeting = Buffer.alloc(18);
    greeting.writeBigUInt64BE(greetingMagic, 0);
    greeting.writeBigUInt64BE(optionMagic, 8);
    greeting.writeUInt16BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes, 16);
    await this.#socket.send(greeting);
    const answer = Buffer.alloc(4);
    await this.#socket.inlet.fill(answer);
    const flags = answer.readUInt32BE(0);
    const known = handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes;
    if ((flags & ~known) !== 0) throw clientViolation("unknown client flags");
    this.#omitsZeroes = (flags & handshakeFlag.noZeroes) !== 0;
  }

  async #secure(kind: number, data: Buffer, tls: NbdServerTls): Promise<void> {
    if (kind === option.exportName) {
      throw clientViolation("EXPORT_NAME without TLS, which can only be answered by closing");
    }
    if (kind !== option.startTls) return await this.#reply(kind, optionError.tlsRequired);
    if (data.length > 0) return await this.#reply(kind, optionError.invalid);
    await this.#reply(kind, optionReply.ack);
    await this.#socket.startTls(tls);
    this.#tlsDue = null;
  }

  async #readOption(): Promise<{ kind: number; data: Buffer }> {
    const header = Buffer.alloc(optionHeaderBytes);
    await this.#socket.inlet.fill(header);
    if (header.readBigUInt64BE(0) !== optionMagic) throw clientViolation("bad option magic");
    const lengthBytes = header.readUInt32BE(12);
    if (lengthBytes > optionBytesMax) {
      throw clientViolation(`an option of ${lengthBytes} bytes, more than ${optionBytesMax}`);
    }
    const data = Buffer.alloc(lengthBytes);
    await this.#socket.inlet.fill(data);
    return { kind: header.readUInt32BE(8), data };
  }

  async #answer(kind: number, data: Buffer): Promise<Session | null> {
    switch (kind) {
      case option.list:
        await this.#list(data);
        return null;
      case option.structuredReply:
        await this.#acceptStructuredReplies(data);
        return null;
      case option.listMetaContext:
      case option.setMetaContext:
        await this.#metaContexts(kind, data);
        return null;
      case option.info:
      case option.go:
        return await this.#describe(kind, data);
      case option.startTls: // A second time, or on a server of this host alone, which speaks plain text.
        await this.#reply(kind, this.#hasTls ? optionError.invalid : optionError.unsupported);
        return null;
      default:
        await this.#reply(kind, optionError.unsupported);
        return null;
    }
  }

  async #list(data: Buffer): Promise<void> {
    if (data.length > 0) return await this.#reply(option.list, optionError.invalid);
    for (const { name, description } of await this.#exports.list()) {
      const entry = Buffer.concat([lengthPrefixed(name), Buffer.from(description, "utf8")]);
      await this.#reply(option.list, optionReply.server, entry);
    }
    await this.#reply(option.list, optionReply.ack);
  }

  async #acceptStructuredReplies(data: Buffer): Promise<void> {
    const isValid = data.length === 0;
    this.#hasStructuredReplies ||= isValid;
    const answer = isValid ? optionReply.ack : optionError.invalid;
    await this.#reply(option.structuredReply, answer);
  }

  async #metaContexts(kind: number, data: Buffer): Promise<void> {
    const query = parseContextQuery(data);
    if (kind === option.setMetaContext) this.#allocationOf = null;
    if (query === null || !this.#hasStructuredReplies) {
      return await this.#reply(kind, optionError.invalid);
    }
    const found = await this.#exports.find(query.exportName);
    if (found === null) return await this.#reply(kind, optionError.unknown);
    const isListing = kind === option.listMetaContext;
    const matches = (text: string) => text === baseAllocation || (isListing && text === "base:"); // A namespace lists its contexts.
    const isWanted = (isListing && query.queries.length === 0) || query.queries.some(matches);
    if (isWanted && found.extents !== undefined) {
      if (!isListing) this.#allocationOf = query.exportName;
      const id = uint32(isListing ? 0 : allocationContextId);
      const entry = Buffer.concat([id, Buffer.from(baseAllocation)]);
      await this.#reply(kind, optionReply.metaContext, entry);
    }
    await this.#reply(kind, optionReply.ack);
  }

  /** INFO and GO. */
  async #describe(kind: number, data: Buffer): Promise<Session | null> {
    const wish = parseExportWish(data);
    if (wish === null) {
      await this.#reply(kind, optionError.invalid);
      return null;
    }
    const found = await this.#exports.find(wish.exportName);
    if (found === null) {
      await this.#reply(kind, optionError.unknown);
      return null;
    }
    const blockSizes = blockSizesOf(found);
    if (blockSizes.minimumBytes > 1 && !wish.infos.has(info.blockSize)) {
      await this.#reply(kind, optionError.blockSizeRequired);
      return null;
    }
    const { minimumBytes, preferredBytes, maximumBytes } = blockSizes;
    const sizes = [minimumBytes, preferredBytes, maximumBytes].map(uint32);
    await this.#inform(kind, info.export, sizeAndFlags(found, this.#hasStructuredReplies));
    await this.#inform(kind, info.blockSize, Buffer.concat(sizes));
    if (wish.infos.has(info.name)) {
      await this.#inform(kind, info.name, Buffer.from(wish.exportName, "utf8"));
    }
    if (wish.infos.has(info.description) && found.description !== undefined) {
      await this.#inform(kind, info.description, Buffer.from(found.description, "utf8"));
    }
    await this.#reply(kind, optionReply.ack);
    return kind === option.go ? this.#session(wish.exportName, found) : null;
  }

  async #chooseByName(data: Buffer): Promise<Session> {
    const exportName = data.length <= stringBytesMax ? readText(data) : null;
    const found = exportName === null ? null : await this.#exports.find(exportName);
    if (exportName === null || found === null) {
      throw clientViolation(
        "EXPORT_NAME of an unknown export, which can only be answered by closing",
      );
    }
    const padding = Buffer.alloc(this.#omitsZeroes ? 0 : exportNamePaddingBytes);
    const answer = [sizeAndFlags(found, this.#hasStructuredReplies), padding];
    await this.#socket.send(Buffer.concat(answer));
    return this.#session(exportName, found);
  }

  #session(exportName: string, found: NbdExport): Session {
    const hasStructuredReplies = this.#hasStructuredReplies;
    const hasAllocation = this.#allocationOf === exportName;
    return { exportName, found, hasStructuredReplies, hasAllocation };
  }

  async #inform(kind: number, what: number, data: Buffer): Promise<void> {
    await this.#reply(kind, optionReply.info, Buffer.concat([uint16(what), data]));
  }

  async #reply(kind: number, type: number, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    const header = Buffer.alloc(optionReplyHeaderBytes);
    header.writeBigUInt64BE(optionReplyMagic, 0);
    header.writeUInt32BE(kind, 8);
    header.writeUInt32BE(type, 12);
    header.writeUInt32BE(data.length, 16);
    await this.#socket.send(Buffer.concat([header, data]));
  }
}

function sizeAndFlags(found: NbdExport, hasStructuredReplies: boolean): Buffer {
  const bytes = Buffer.alloc(10);
  writeUint64(bytes, found.sizeBytes, 0);
  bytes.writeUInt16BE(transmissionFlagsOf(found, hasStructuredReplies), 8);
  return bytes;
}

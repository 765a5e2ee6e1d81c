import { Fault } from "../base/fault.ts";
import type { Exchange } from "./client-exchange.ts";
import { violation } from "./client-handshake.ts";
import { parseStatusRuns } from "./client-status-runs.ts";
import { Coverage } from "./coverage.ts";
import { errno, errnoName } from "./errno.ts";
import type { Inlet } from "./inlet.ts";
import { descriptorsReceivedMax, errorChunkBytesMax, replyChunksMax } from "./limits.ts";
import {
  chunkErrorMin,
  chunkFlag,
  chunkType,
  command,
  commandName,
  simpleReplyBytes,
  simpleReplyMagic,
  structuredReplyHeaderBytes,
  structuredReplyMagic,
} from "./protocol.ts";
import { readText, readUint64 } from "./wire.ts";

/** What reading a part came to: null and the next part is expected, or what was wrong. */
type Step = Fault | null;

/** Who owns the requests that replies belong to. */
export interface ReplyDesk {
  readonly hasStructuredReplies: boolean;
  /** Size of the export. */
  readonly sizeBytes: number;
  readonly contextIds: ReadonlySet<number>;
  /** The request with this cookie, or null when none is under way. */
  find(cookieHigh: number, cookieLow: number): Exchange | null;
  /** The reply is complete; the exchange settles. */
  settle(exchange: Exchange): void;
  /** The server broke the protocol; the connection ends. */
  abandon(fault: Fault): void;
}

/**
 * Reads replies, each part straight into where it belongs.
 *
 *   header ─┬─ simple ──(READ without error: payload into the caller's buffer)──────────────▶ settle ──▶ header
 *           └─ structured ──▶ chunk: data into the caller's buffer │ hole │ status │ error ─┬─ done ──▶ settle ──▶ header
 *                                                                                          └─ more ──▶ header
 *   anything that does not fit the request it claims to answer ──▶ abandon
 */
export class ReplyReader {
  readonly #inlet: Inlet;
  readonly #desk: ReplyDesk;
  readonly #header = Buffer.alloc(structuredReplyHeaderBytes);
  readonly #simplePart = this.#header.subarray(0, simpleReplyBytes);
  readonly #structuredPart = this.#header.subarray(simpleReplyBytes);
  /** Offset of a data chunk (8 bytes), or offset and length of a hole (12). */
  readonly #place = Buffer.alloc(12);
  readonly #placeOfData = this.#place.subarray(0, 8);
  #exchange: Exchange | null = null;
  readonly #onHeader = this.#guarded(() => this.#readHeader());
  readonly #onChunkHeader = this.#guarded(() => this.#readChunk(this.#current()));
  readonly #onDataPlace = this.#guarded(() => this.#readData(this.#current()));
  readonly #onHolePlace = this.#guarded(() => this.#readHole(this.#current()));
  readonly #onChunkEnd = this.#guarded(() => this.#endChunk(this.#current()));
  readonly #onReplyEnd = this.#guarded(() => this.#settle(this.#current()));

  constructor(inlet: Inlet, desk: ReplyDesk) {
    this.#inlet = inlet;
    this.#desk = desk;
  }

  /** Begins to read; goes on until the inlet fails. */
  start(): void {
    this.#nextReply();
  }

  /** Calls `step` when a part has arrived and ends the connection when it does not fit. */
  #guarded(step: () => Step): () => void {
    return () => {
      const fault = step();
      if (fault !== null) this.#desk.abandon(fault);
    };
  }

  #next(target: Uint8Array, then: () => void): null {
    this.#inlet.expect(target, then);
    return null;
  }

  #nextReply(): null {
    return this.#next(this.#simplePart, this.#onHeader);
  }

  #current(): Exchange {
    return this.#exchange!; // Set by every header that goes on to a part.
  }

  #readHeader(): Step {
    const header = this.#header;
    const magic = header.readUInt32BE(0);
    if (magic !== simpleReplyMagic && magic !== structuredReplyMagic) {
      return violation("bad reply magic", { magic: magic.toString(16) });
    }
    const exchange = this.#desk.find(header.readUInt32BE(8), header.readUInt32BE(12));
    if (exchange === null) {
      return violation("a reply to a request that is not under way");
    }
    this.#exchange = exchange;
    if (magic === simpleReplyMagic) return this.#readSimple(exchange, header.readUInt32BE(4));
    if (!this.#desk.hasStructuredReplies) {
      return violation("a structured reply that was not negotiated");
    }
    return this.#next(this.#structuredPart, this.#onChunkHeader);
  }

  #readSimple(exchange: Exchange, error: number): Step {
    const hasPayload = exchange.command === command.read;
    const mustBeStructured = hasPayload || exchange.command === command.blockStatus;
    if (exchange.chunks > 0 || (mustBeStructured && this.#desk.hasStructuredReplies)) {
      return wrong(exchange, "a simple reply where it must be structured");
    }
    if (error !== 0) {
      exchange.fault = failure(exchange, error, "");
      return this.#settle(exchange);
    }
    if (exchange.into === null) return this.#settle(exchange);
    return this.#next(exchange.into, this.#onReplyEnd);
  }

  #readChunk(exchange: Exchange): Step {
    const type = this.#header.readUInt16BE(6);
    const lengthBytes = this.#header.readUInt32BE(16);
    exchange.chunks += 1;
    if (exchange.chunks > replyChunksMax) {
      return wrong(exchange, "a reply of too many chunks");
    }
    if (type === chunkType.none && lengthBytes === 0 && this.#isLastChunk()) {
      return this.#endChunk(exchange);
    }
    if (type === chunkType.offsetData && exchange.into !== null && lengthBytes > 8) {
      return this.#next(this.#placeOfData, this.#onDataPlace);
    }
    if (type === chunkType.offsetHole && exchange.into !== null && lengthBytes === 12) {
      return this.#next(this.#place, this.#onHolePlace);
    }
    if (type === chunkType.blockStatus && this.#fitsStatus(exchange, lengthBytes)) {
      return this.#collect(lengthBytes, (payload) => this.#readStatus(exchange, payload));
    }
    if (type >= chunkErrorMin && lengthBytes >= 6 && lengthBytes <= errorChunkBytesMax) {
      return this.#collect(lengthBytes, (payload) => this.#readError(exchange, payload));
    }
    return wrong(exchange, `a chunk of type ${type} and ${lengthBytes} bytes`);
  }

  /** Small payloads that are no one's buffer; the caller has bounded `lengthBytes`. */
  #collect(lengthBytes: number, then: (payload: Buffer) => Step): null {
    const payload = Buffer.allocUnsafe(lengthBytes);
    return this.#next(
      payload,
      this.#guarded(() => then(payload)),
    );
  }

  #readData(exchange: Exchange): Step {
    const lengthBytes = this.#header.readUInt32BE(16) - 8;
    const startBytes = this.#claim(exchange, lengthBytes);
    if (startBytes instanceof Fault) return startBytes;
    const whole = exchange.into!;
    const isAll = startBytes === 0 && lengthBytes === whole.length;
    const into = isAll ? whole : whole.subarray(startBytes, startBytes + lengthBytes);
    return this.#next(into, this.#onChunkEnd);
  }

  #readHole(exchange: Exchange): Step {
    const lengthBytes = this.#place.readUInt32BE(8);
    const startBytes = this.#claim(exchange, lengthBytes);
    if (startBytes instanceof Fault) return startBytes;
    exchange.into!.fill(0, startBytes, startBytes + lengthBytes);
    return this.#endChunk(exchange);
  }

  /** Where in the request the content chunk at hand lies; a fault when it lies elsewhere or overlaps an earlier one. */
  #claim(exchange: Exchange, lengthBytes: number): number | Fault {
    const offsetBytes = readUint64(this.#place, 0);
    const startBytes = offsetBytes === null ? -1 : offsetBytes - exchange.offsetBytes;
    const endBytes = startBytes + lengthBytes;
    exchange.coverage ??= new Coverage();
    const fits = startBytes >= 0 && lengthBytes > 0 && endBytes <= exchange.lengthBytes;
    if (fits && exchange.coverage.add(startBytes, endBytes)) return startBytes;
    const problem = fits ? "overlapping chunks" : "a chunk outside of what was asked";
    return wrong(exchange, problem);
  }

  #fitsStatus(exchange: Exchange, lengthBytes: number): boolean {
    const isAsked = exchange.command === command.blockStatus;
    const descriptors = (lengthBytes - 4) / 8;
    const isWhole = Number.isInteger(descriptors) && descriptors >= 1;
    return isAsked && isWhole && descriptors <= descriptorsReceivedMax;
  }

  #readStatus(exchange: Exchange, payload: Buffer): Step {
    const contextId = payload.readUInt32BE(0);
    exchange.statuses ??= new Map();
    if (!this.#desk.contextIds.has(contextId) || exchange.statuses.has(contextId)) {
      const problem = `status of metadata context ${contextId}, which is unknown or told twice`;
      return wrong(exchange, problem);
    }
    const runs = parseStatusRuns(payload.subarray(4), exchange, this.#desk.sizeBytes);
    if (typeof runs === "string") return wrong(exchange, runs);
    exchange.statuses.set(contextId, runs);
    return this.#endChunk(exchange);
  }

  #readError(exchange: Exchange, payload: Buffer): Step {
    const error = payload.readUInt32BE(0);
    const messageBytes = payload.readUInt16BE(4);
    if (error === 0 || messageBytes > payload.length - 6) {
      return wrong(exchange, "a malformed error chunk");
    }
    const message = readText(payload.subarray(6, 6 + messageBytes)) ?? "";
    exchange.fault ??= failure(exchange, error, message);
    return this.#endChunk(exchange);
  }

  #isLastChunk(): boolean {
    return (this.#header.readUInt16BE(4) & chunkFlag.done) !== 0;
  }

  #endChunk(exchange: Exchange): Step {
    if (!this.#isLastChunk()) return this.#nextReply();
    if (exchange.fault === null) {
      const isRead = exchange.command === command.read;
      if (isRead && !(exchange.coverage?.isWhole(exchange.lengthBytes) ?? false)) {
        return wrong(exchange, "success without all of the data");
      }
      const isStatus = exchange.command === command.blockStatus;
      if (isStatus && exchange.statuses?.size !== this.#desk.contextIds.size) {
        return wrong(exchange, "success without all metadata contexts");
      }
    }
    return this.#settle(exchange);
  }

  #settle(exchange: Exchange): Step {
    this.#exchange = null;
    this.#desk.settle(exchange);
    return this.#nextReply();
  }
}

function facts(exchange: Exchange) {
  const { offsetBytes, lengthBytes } = exchange;
  return { command: commandName(exchange.command), offsetBytes, lengthBytes };
}

function wrong(exchange: Exchange, problem: string): Fault {
  return violation(`${problem}, in answer to ${commandName(exchange.command)}`, facts(exchange));
}

function failure(exchange: Exchange, error: number, message: string): Fault {
  const name = errnoName(error);
  const said = message === "" ? "" : ` (${message})`;
  const at = `${exchange.lengthBytes} bytes at ${exchange.offsetBytes}`;
  const code = error === errno.ESHUTDOWN ? "NBD_CLOSED" : "NBD_FAILED";
  const text = `NBD ${commandName(exchange.command)} of ${at} failed: ${name}${said}`;
  return new Fault(code, text, { ...facts(exchange), errno: error, reason: name });
}

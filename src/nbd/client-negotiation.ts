import { Fault } from "../base/fault.ts";
import {
  type Greeting,
  haggle,
  type OptionAnswer,
  refusal,
  sendOption,
  violation,
} from "./client-handshake.ts";
import type { Wire } from "./client-socket.ts";
import {
  metaContextsMax,
  minimumBlockBytesMax,
  payloadBytesMax,
  preferredBlockBytes,
  stringBytesMax,
} from "./limits.ts";
import {
  exportNamePaddingBytes,
  info,
  option,
  optionError,
  optionReply,
  transmissionFlag,
} from "./protocol.ts";
import { lengthPrefixed, readText, readUint64, uint16, uint32 } from "./wire.ts";

/** Sizes a server wants requests to have, all powers of two but the maximum. */
export interface NbdBlockSizes {
  /** Offsets and lengths are multiples of it. */
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  /** Longest payload of one request. */
  readonly maximumBytes: number;
}

/** What the handshake agreed on. */
export interface Negotiated {
  readonly sizeBytes: number;
  /** Transmission flags as the server sent them. */
  readonly flags: number;
  readonly blockSizes: NbdBlockSizes;
  /** Context id to name, of those selected. */
  readonly metaContexts: ReadonlyMap<number, string>;
  readonly hasStructuredReplies: boolean;
  /** The name the server gives the export, which may differ from the one asked for. */
  readonly canonicalName: string;
  readonly description: string;
}

/** What a client wants of an export. */
export interface Wish {
  readonly exportName: string;
  readonly metaContexts: readonly string[];
  readonly wantsStructuredReplies: boolean;
}

/** What to assume of a server that does not say (doc/proto.md, "Block size constraints"). */
const assumedBlockSizes: NbdBlockSizes = {
  minimumBytes: 1,
  preferredBytes: preferredBlockBytes,
  maximumBytes: payloadBytesMax,
};

/** Haggles up to the transmission phase. Rejects with NBD_REFUSED when the server lacks what is wished for. */
export async function negotiate(wire: Wire, greeting: Greeting, wish: Wish): Promise<Negotiated> {
  const needsContexts = wish.metaContexts.length > 0;
  let hasStructuredReplies = false;
  if (greeting.isFixed && (wish.wantsStructuredReplies || needsContexts)) {
    hasStructuredReplies = await askStructuredReplies(wire);
  }
  let metaContexts: ReadonlyMap<number, string> = new Map();
  if (needsContexts) {
    if (!hasStructuredReplies) {
      const message = "the NBD server has no structured replies, so it cannot tell what changed";
      throw new Fault("NBD_REFUSED", message, { feature: "structured replies" });
    }
    metaContexts = await selectContexts(wire, wish);
  }
  const opened =
    (greeting.isFixed ? await go(wire, wish.exportName) : null) ??
    (await chooseByName(wire, greeting, wish.exportName));
  return { ...opened, metaContexts, hasStructuredReplies };
}

async function askStructuredReplies(wire: Wire): Promise<boolean> {
  const outcome = await haggle(wire, option.structuredReply, new Uint8Array(0));
  if (outcome.isAccepted) return true;
  if (outcome.error === optionError.tlsRequired) throw refusal("the NBD handshake", outcome);
  return false;
}

async function selectContexts(wire: Wire, wish: Wish): Promise<ReadonlyMap<number, string>> {
  const outcome = await haggle(wire, option.setMetaContext, encodeQueries(wish));
  const details = { exportName: wish.exportName };
  if (!outcome.isAccepted) throw refusal("selecting metadata contexts", outcome, details);
  const found = new Map<number, string>();
  for (const answer of outcome.answers) {
    const context = readContext(answer);
    if (found.has(context.id)) throw violation("one metadata context id twice", details);
    if (found.size >= metaContextsMax) throw violation("too many metadata contexts", details);
    found.set(context.id, context.name);
  }
  const names = new Set(found.values());
  const missing = wish.metaContexts.find((name) => !names.has(name));
  if (missing !== undefined) {
    const message = `export "${wish.exportName}" has no metadata context ${missing}`;
    throw new Fault("NBD_REFUSED", message, { ...details, metaContext: missing });
  }
  return found;
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function encodeQueries(wish: Pick<Wish, "exportName" | "metaContexts">): Buffer {
  return Buffer.concat([
    lengthPrefixed(wish.exportName),
    uint32(wish.metaContexts.length),
    ...wish.metaContexts.map(lengthPrefixed),
  ]);
}

/** A metadata context out of an option's answer. */
export function readContext(answer: OptionAnswer): { readonly id: number; readonly name: string } {
  const name = answer.data.length > 4 ? readText(answer.data.subarray(4)) : null;
  if (answer.type !== optionReply.metaContext || name === null) {
    throw violation("a malformed metadata context", { reply: answer.type });
  }
  return { id: answer.data.readUInt32BE(0), name };
}

type Opened = Omit<Negotiated, "metaContexts" | "hasStructuredReplies">;

/** GO; null when the server does not know that option. */
async function go(wire: Wire, exportName: string): Promise<Opened | null> {
  const wanted = [info.blockSize, info.name, info.description];
  const data = [lengthPrefixed(exportName), uint16(wanted.length), ...wanted.map(uint16)];
  const outcome = await haggle(wire, option.go, Buffer.concat(data));
  if (outcome.isAccepted) return readInfos(exportName, outcome.answers);
  if (outcome.error === optionError.unsupported) return null;
  throw refusal(`export "${exportName}"`, outcome, { exportName });
}

function readInfos(exportName: string, answers: readonly OptionAnswer[]): Opened {
  let opened: Opened | null = null;
  let blockSizes = assumedBlockSizes;
  let canonicalName = exportName;
  let description = "";
  for (const { type, data } of answers) {
    if (type !== optionReply.info || data.length < 2) {
      throw violation("a malformed answer to GO", { reply: type });
    }
    const kind = data.readUInt16BE(0);
    if (kind === info.export) {
      if (data.length !== 12) throw violation("export information of a wrong length");
      opened = { ...readSizeAndFlags(data.subarray(2)), blockSizes, canonicalName, description };
    } else if (kind === info.blockSize) blockSizes = readBlockSizes(data);
    else if (kind === info.name) canonicalName = readInfoText(data);
    else if (kind === info.description) description = readInfoText(data);
    // Other kinds are to be ignored (doc/proto.md, REP_INFO).
  }
  if (opened === null) throw violation("GO was accepted without export information");
  return { ...opened, blockSizes, canonicalName, description };
}

function readSizeAndFlags(data: Buffer): { readonly sizeBytes: number; readonly flags: number } {
  const sizeBytes = readUint64(data, 0);
  if (sizeBytes === null) throw violation("an export of more than 2^53 bytes");
  const flags = data.readUInt16BE(8);
  if ((flags & transmissionFlag.hasFlags) === 0)
    throw violation("transmission flags without bit 0");
  return { sizeBytes, flags };
}

function readInfoText(data: Buffer): string {
  const text = data.length - 2 <= stringBytesMax ? readText(data.subarray(2)) : null;
  if (text === null) throw violation("a malformed text in the answer to GO");
  return text;
}

function readBlockSizes(data: Buffer): NbdBlockSizes {
  if (data.length !== 14) throw violation("block sizes of a wrong length");
  const minimumBytes = data.readUInt32BE(2);
  const preferredBytes = data.readUInt32BE(6);
  const maximumBytes = data.readUInt32BE(10);
  const isSane =
    isPowerOfTwo(minimumBytes) &&
    minimumBytes <= minimumBlockBytesMax &&
    isPowerOfTwo(preferredBytes) &&
    preferredBytes >= minimumBytes &&
    maximumBytes >= minimumBytes &&
    (maximumBytes === 0xffffffff || maximumBytes % minimumBytes === 0);
  const details = { minimumBytes, preferredBytes, maximumBytes };
  if (!isSane) throw violation("block sizes that contradict each other", details);
  return { minimumBytes, preferredBytes, maximumBytes: Math.min(maximumBytes, payloadBytesMax) };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/** EXPORT_NAME, the only option of old servers: it cannot be refused but by closing the connection. */
async function chooseByName(wire: Wire, greeting: Greeting, exportName: string): Promise<Opened> {
  sendOption(wire, option.exportName, Buffer.from(exportName, "utf8"));
  const answer = Buffer.alloc(10);
  try {
    await wire.inlet.fill(answer);
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "NBD_CLOSED") throw error;
    const message = `the NBD server closed the connection when asked for export "${exportName}"`;
    throw new Fault("NBD_REFUSED", message, { exportName }, { cause: error });
  }
  if (!greeting.omitsZeroes) await wire.inlet.fill(Buffer.alloc(exportNamePaddingBytes));
  return {
    ...readSizeAndFlags(answer),
    blockSizes: assumedBlockSizes,
    canonicalName: exportName,
    description: "",
  };
}

import { Fault, type FaultDetails } from "../base/fault.ts";
import type { Wire } from "./client-socket.ts";
import { optionRepliesMax, optionReplyBytesMax } from "./limits.ts";
import {
  greetingBytes,
  greetingMagic,
  handshakeFlag,
  oldstyleMagic,
  option,
  optionError,
  optionErrorMin,
  optionHeaderBytes,
  optionMagic,
  optionReply,
  optionReplyHeaderBytes,
  optionReplyMagic,
} from "./protocol.ts";
import { readText, uint32 } from "./wire.ts";

/*
 * The client's half of the handshake:
 *
 *   greeting ──▶ haggling: option ──▶ replies … ack ──▶ next option
 *                  │                        └─ error ──▶ refused, or the next best option
 *                  ├─ GO ack, EXPORT_NAME answered ──▶ transmission
 *                  └─ ABORT ──▶ closed
 */

/** What the server's first bytes say of its handshake. */
export interface Greeting {
  /** False: a server from before options could be refused; it understands EXPORT_NAME alone. */
  readonly isFixed: boolean;
  readonly omitsZeroes: boolean;
}

/** One answer to an option, as it came; `data` is at most `optionReplyBytesMax`. */
export interface OptionAnswer {
  readonly type: number;
  readonly data: Buffer;
}

/** The server said something the protocol does not allow. */
export function violation(message: string, details: FaultDetails = {}): Fault {
  return new Fault("NBD_PROTOCOL", `NBD server: ${message}`, details);
}

/** Reads the greeting and answers it. */
export async function greet(wire: Wire): Promise<Greeting> {
  const greeting = Buffer.alloc(greetingBytes);
  await wire.inlet.fill(greeting.subarray(0, 16));
  if (greeting.readBigUInt64BE(0) !== greetingMagic) throw violation("no NBD greeting");
  const second = greeting.readBigUInt64BE(8);
  if (second === oldstyleMagic) {
    const message = "the server speaks the oldstyle handshake, which cannot negotiate an export";
    throw new Fault("NBD_REFUSED", message, { feature: "newstyle" });
  }
  if (second !== optionMagic) throw violation("bad second magic in the greeting");
  await wire.inlet.fill(greeting.subarray(16));
  const flags = greeting.readUInt16BE(16);
  // Only flags that the server has may be set in the answer.
  wire.send(uint32(flags & (handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)));
  return {
    isFixed: (flags & handshakeFlag.fixedNewstyle) !== 0,
    omitsZeroes: (flags & handshakeFlag.noZeroes) !== 0,
  };
}

/** Sends an option without reading an answer. */
export function sendOption(wire: Wire, kind: number, data: Uint8Array): void {
  const header = Buffer.alloc(optionHeaderBytes);
  header.writeBigUInt64BE(optionMagic, 0);
  header.writeUInt32BE(kind, 8);
  header.writeUInt32BE(data.length, 12);
  wire.send(Buffer.concat([header, data]));
}

/** Asks for TLS and changes over to it. Everything learned before counts for nothing. */
export async function upgrade(wire: Wire, greeting: Greeting): Promise<void> {
  const outcome = greeting.isFixed
    ? await haggle(wire, option.startTls, new Uint8Array(0))
    : { isAccepted: false as const, error: optionError.unsupported, message: "" };
  if (!outcome.isAccepted) throw refusal("TLS", outcome);
  if (outcome.answers.length > 0) throw violation("answers to STARTTLS");
  // Nothing that came in the clear may be taken for something that came under TLS.
  if (wire.inlet.hasLeftover) throw violation("bytes between STARTTLS and TLS");
  await wire.startTls();
}

/** What an option came to: all answers before the ACK, or the error that stood in its place. */
export type OptionOutcome =
  | { readonly isAccepted: true; readonly answers: readonly OptionAnswer[] }
  | { readonly isAccepted: false; readonly error: number; readonly message: string };

/** Sends an option and reads its answers up to ACK or an error. */
export async function haggle(wire: Wire, kind: number, data: Uint8Array): Promise<OptionOutcome> {
  sendOption(wire, kind, data);
  const answers: OptionAnswer[] = [];
  for (;;) {
    const answer = await readAnswer(wire, kind);
    if (answer.type === optionReply.ack) {
      if (answer.data.length > 0) throw violation("an ACK with data", { option: kind });
      return { isAccepted: true, answers };
    }
    if (answer.type >= optionErrorMin) {
      const message = readText(answer.data) ?? "";
      return { isAccepted: false, error: answer.type, message };
    }
    if (answers.length >= optionRepliesMax) {
      throw violation("too many answers to one option", { option: kind, optionRepliesMax });
    }
    answers.push(answer);
  }
}

async function readAnswer(wire: Wire, kind: number): Promise<OptionAnswer> {
  const header = Buffer.alloc(optionReplyHeaderBytes);
  await wire.inlet.fill(header);
  if (header.readBigUInt64BE(0) !== optionReplyMagic) throw violation("bad option reply magic");
  const echoed = header.readUInt32BE(8);
  if (echoed !== kind) throw violation("an answer to another option", { option: kind, echoed });
  const lengthBytes = header.readUInt32BE(16);
  if (lengthBytes > optionReplyBytesMax) {
    throw violation("an oversized option reply", { option: kind, lengthBytes });
  }
  const data = Buffer.alloc(lengthBytes);
  await wire.inlet.fill(data);
  return { type: header.readUInt32BE(12), data };
}

const errorWords = new Map<number, string>([
  [optionError.unsupported, "not supported"],
  [optionError.policy, "forbidden by the server's policy"],
  [optionError.invalid, "called invalid"],
  [optionError.platform, "not supported on the server's platform"],
  [optionError.tlsRequired, "refused without TLS"],
  [optionError.unknown, "unknown to the server"],
  [optionError.shutdown, "refused: the server is shutting down"],
  [optionError.blockSizeRequired, "refused without block sizes"],
  [optionError.tooBig, "called too big"],
]);

/** The fault for an option that was refused; `what` is the subject of the sentence. */
export function refusal(
  what: string,
  outcome: { readonly error: number; readonly message: string },
  details: FaultDetails = {},
): Fault {
  const words = errorWords.get(outcome.error) ?? `refused with 0x${outcome.error.toString(16)}`;
  const said = outcome.message === "" ? "" : `: ${outcome.message}`;
  const code = outcome.error === optionError.shutdown ? "NBD_CLOSED" : "NBD_REFUSED";
  return new Fault(code, `${what} is ${words}${said}`, { ...details, reply: outcome.error });
}

/** Ends the haggling politely; the server may answer or just close. */
export function sendAbort(wire: Wire): void {
  sendOption(wire, option.abort, new Uint8Array(0));
}

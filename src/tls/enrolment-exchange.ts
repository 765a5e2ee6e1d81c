import type { TLSSocket } from "node:tls";
import type { Clock } from "../base/clock.ts";
import type { CertificateHolder } from "./identity.ts";
import { enrolMessageBytesMax } from "./tls-limits.ts";

/** Who asks. */
export interface Applicant {
  /** Host and port. */
  readonly address: string;
  /** Whom a certificate that is still good named; null when none was shown. */
  readonly holder: CertificateHolder | null;
}

/** What is to be answered, or why nothing is: the reason is for the log alone. */
export type EnrolmentAnswer =
  | { readonly answer: Uint8Array; readonly refusal: null }
  | { readonly answer: null; readonly refusal: string };

/** Answers one request for a certificate. Takes hostile bytes, at most `enrolMessageBytesMax` of them. */
export type EnrolmentHandler = (
  request: Uint8Array,
  applicant: Applicant,
) => Promise<EnrolmentAnswer>;

/** A message of the exchange: its length in two bytes, big-endian, then a JSON text. One goes each way, then all is over. */
export function frameMessage(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  frame.set(message, 2);
  return frame;
}

/** Reads one message; null when the peer ends before its end, or says something else. */
export async function readMessage(socket: TLSSocket): Promise<Buffer | null> {
  const { promise, resolve } = Promise.withResolvers<Buffer | null>();
  let seen: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk]);
    if (seen.length < 2) return;
    const lengthBytes = seen.readUInt16BE(0);
    if (lengthBytes > enrolMessageBytesMax || seen.length > 2 + lengthBytes) resolve(null);
    else if (seen.length === 2 + lengthBytes) resolve(seen.subarray(2));
  });
  socket.once("end", () => resolve(null));
  socket.once("close", () => resolve(null));
  socket.on("error", () => resolve(null));
  const message = await promise;
  socket.removeAllListeners("data");
  return message;
}

/** Serves one exchange to its end, within the bound; resolves with why it was refused, or null. */
export async function serveEnrolment(
  { socket }: { readonly socket: TLSSocket },
  options: Applicant & {
    readonly handler: EnrolmentHandler;
    readonly clock: Clock;
    readonly exchangeMs: number;
    readonly signal: AbortSignal;
  },
): Promise<string | null> {
  const { handler, address, holder, clock, exchangeMs, signal } = options;
  const done = new AbortController();
  const bound = AbortSignal.any([signal, done.signal]);
  // Over in time, too late, or the listener closes: in the end the socket goes.
  const end = () => void socket.destroy();
  clock.sleep(exchangeMs, { signal: bound }).then(end, end);
  try {
    const request = await readMessage(socket);
    if (request === null) return "an enrolment without a request";
    const { answer, refusal } = await handler(request, { address, holder });
    if (refusal !== null) return refusal;
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once("close", resolve);
    socket.end(frameMessage(answer), resolve);
    socket.resume();
    await promise;
    return null;
  } finally {
    done.abort();
  }
}

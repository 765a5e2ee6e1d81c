import type { Socket } from "node:net";
import tls from "node:tls";
import type { Clock } from "../base/clock.ts";
import { readFirstBytes } from "./client-hello.ts";
import { firstRecordBytesMax } from "./tls-limits.ts";

/** A peer that TLS has let in; who it is has not been decided. */
export interface Admitted {
  readonly socket: tls.TLSSocket;
  readonly raw: Socket;
  readonly protocol: string;
}

/** What stands against a peer before its certificate is even seen; for the log, the peer hears nothing. */
export class Refusal extends Error {}

/** What an admission takes. */
export interface AdmissionOptions {
  readonly protocols: readonly string[];
  readonly secureContext: tls.SecureContext;
  readonly clock: Clock;
  readonly handshakeMs: number;
  readonly signal: AbortSignal;
}

/**
 * The server's half of TLS up to the end of the handshake:
 *
 *   accepted ──first record is a TLS 1.3 ClientHello with a protocol of ours──▶ handshake ──▶ admitted
 *      └── anything else, nothing in time, the peer goes ──────────────────────────┴──▶ Refusal; the socket is destroyed
 */
export async function admit(raw: Socket, options: AdmissionOptions): Promise<Admitted> {
  const done = new AbortController();
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => {}); // Whoever waits below hears of it.
  const refuse = (reason: string) => refused.reject(new Refusal(reason));
  const { handshakeMs, signal } = options;
  options.clock.sleep(handshakeMs, { signal: done.signal }).then(
    () => refuse(`the handshake was not finished within ${handshakeMs} ms`),
    () => {}, // It ended in time.
  );
  const onAbort = () => refuse("the listener was closed");
  signal.addEventListener("abort", onAbort, { once: true });
  raw.on("error", (error) => refuse(`the connection was lost: ${reasonOf(error)}`));
  raw.once("close", () => refuse("the peer closed the connection"));
  try {
    const protocols = await Promise.race([peekProtocols(raw), refused.promise]);
    const protocol = options.protocols.find((ours) => protocols.includes(ours));
    if (protocol === undefined) throw new Refusal("no protocol of ours");
    const socket = secure(raw, protocol, options.secureContext);
    socket.on("error", (error) => refuse(`the handshake failed: ${reasonOf(error)}`));
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once("secure", resolve);
    await Promise.race([promise, refused.promise]);
    if (socket.isSessionReused()) throw new Refusal("a session that was taken up again");
    if (socket.getProtocol() !== "TLSv1.3") throw new Refusal("a TLS older than 1.3");
    return { socket, raw, protocol };
  } catch (error) {
    raw.destroy();
    throw error;
  } finally {
    done.abort();
    signal.removeEventListener("abort", onAbort);
  }
}

/** Reads the first record without taking it off: TLS reads it again. */
async function peekProtocols(raw: Socket): Promise<readonly string[]> {
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  let seen: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const found = readFirstBytes(seen);
    if (found.state === "incomplete" && seen.length <= firstRecordBytesMax) return;
    raw.pause();
    raw.off("data", onData);
    if (found.state !== "hello") {
      reject(new Refusal(found.state === "refused" ? found.reason : "no TLS"));
      return;
    }
    raw.unshift(seen);
    resolve(found.protocols);
  };
  raw.on("data", onData);
  raw.once("end", () => reject(new Refusal("the peer said nothing, or half a sentence")));
  return await promise;
}

function secure(raw: Socket, protocol: string, secureContext: tls.SecureContext): tls.TLSSocket {
  return new tls.TLSSocket(raw, {
    isServer: true,
    secureContext,
    requestCert: true,
    // Decided after the handshake, so that a peer that is refused learns nothing of why.
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
  });
}

/** Error codes of OpenSSL and the host; never the peer's own words. */
function reasonOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.name;
}

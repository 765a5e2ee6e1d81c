import { constants } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { Channel, Dial } from "../core/channel.ts";
import { tlsChannel } from "./channel.ts";
import { checkCertificate } from "./check-certificate.ts";
import {
  type CertificateHolder,
  type CurrentIdentity,
  formatSiteAddress,
  type SiteAddress,
  type TlsIdentity,
  type TlsTrust,
} from "./identity.ts";
import { cipherSuites, dialMsDefault, keepAliveMs, linkProtocol } from "./tls-limits.ts";

/** What dialling takes. */
export interface DialOptions {
  readonly address: SiteAddress;
  /** Asked anew for every dial, so that a renewed certificate is used from then on. */
  readonly identity: CurrentIdentity;
  readonly trust: TlsTrust;
  readonly clock?: Clock;
  /** Bounds connecting and handshake together. */
  readonly dialMs?: number;
}

/** Dials the vault: one mutually authenticated TLS 1.3 connection for each call. */
export function dialTls(options: DialOptions): Dial {
  const contexts = new ContextCache();
  return async ({ signal }): Promise<Channel> => {
    const identity = options.identity();
    const { clock = systemClock() } = options;
    const secureContext = contexts.of(identity);
    const connected = await connectTls({ ...options, clock, signal, secureContext });
    const { holder, ...sockets } = connected;
    const address = formatSiteAddress(options.address);
    const peer = { name: holder.name, role: "vault", id: holder.id, address } as const;
    return tlsChannel({ ...sockets, peer, clock });
  };
}

/** What one connection to a vault takes; `trust` null believes anybody, and the caller checks. */
export interface ConnectOptions {
  readonly address: SiteAddress;
  readonly secureContext: tls.SecureContext;
  readonly trust: TlsTrust | null;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly protocol?: string;
  readonly dialMs?: number;
}

/** An established connection, and whose certificate the server has shown. */
export interface Connected {
  readonly socket: tls.TLSSocket;
  readonly raw: net.Socket;
}

/**
 * Connects and checks the vault's certificate. Rejects with LINK_LOST, PEER_REFUSED (its certificate is not to be believed), or
 * the signal's reason.
 */
export async function connectTls(
  options: ConnectOptions & { readonly trust: TlsTrust },
): Promise<Connected & { readonly holder: CertificateHolder }> {
  const connected = await connectUnchecked(options);
  const { trust, clock } = options;
  const certificate = connected.socket.getPeerX509Certificate();
  const nowMs = clock.nowMs();
  const verdict = checkCertificate(certificate, { trust, roles: ["vault"], nowMs });
  if (verdict.refusal === null) return { ...connected, holder: verdict.holder };
  connected.socket.destroy();
  const address = formatSiteAddress(options.address);
  const reason = verdict.refusal;
  throw new Fault("PEER_REFUSED", `${address} showed ${reason}`, { address, reason });
}

/** Connects without looking at whom. */
export async function connectUnchecked(options: ConnectOptions): Promise<Connected> {
  const { address, clock, signal } = options;
  signal.throwIfAborted();
  const done = new AbortController();
  const raw = net.connect({ host: address.host, port: address.port, noDelay: true });
  const name = formatSiteAddress(address);
  const giveUp = Promise.withResolvers<never>();
  giveUp.promise.catch(() => {}); // Whoever waits below hears of it.
  const onAbort = () => giveUp.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const dialMs = options.dialMs ?? dialMsDefault;
  clock.sleep(dialMs, { signal: done.signal }).then(
    () => giveUp.reject(lost(name, `no connection within ${dialMs} ms`)),
    () => {}, // It ended in time.
  );
  raw.on("error", (error) => giveUp.reject(lost(name, reasonOf(error), error)));
  raw.once("close", () => giveUp.reject(lost(name, "closed")));
  try {
    await Promise.race([once(raw, "connect"), giveUp.promise]);
    raw.setKeepAlive(true, keepAliveMs);
    const socket = tls.connect({
      socket: raw,
      secureContext: options.secureContext,
      ALPNProtocols: [options.protocol ?? linkProtocol],
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      // Decided by the caller, with the one authority that is pinned: names of hosts say nothing here.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    socket.on("error", (error) => giveUp.reject(lost(name, reasonOf(error), error)));
    await Promise.race([once(socket, "secureConnect"), giveUp.promise]);
    return { socket, raw };
  } catch (error) {
    raw.destroy();
    throw error;
  } finally {
    done.abort();
    signal.removeEventListener("abort", onAbort);
  }
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message;
}

function lost(address: string, reason: string, cause?: unknown): Fault {
  const details = { address, reason };
  const options = cause === undefined ? {} : { cause };
  return new Fault("LINK_LOST", `${address}: ${reason}`, details, options);
}

/** Making a context parses key and certificate; a new one is made only when the identity is another. */
export class ContextCache {
  #identity: TlsIdentity | null = null;
  #context: tls.SecureContext | null = null;

  of(identity: TlsIdentity): tls.SecureContext {
    if (this.#context !== null && this.#identity === identity) return this.#context;
    this.#identity = identity;
    this.#context = secureContextOf(identity);
    return this.#context;
  }
}

/** The TLS context of an identity, or of nobody. */
export function secureContextOf(identity: TlsIdentity | null): tls.SecureContext {
  return tls.createSecureContext({
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: cipherSuites,
    // No session outlives its connection: whoever comes again proves again who it is.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(identity === null ? {} : { key: identity.privateKeyPem, cert: identity.certificatePem }),
  });
}

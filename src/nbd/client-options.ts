import { type Clock, systemClock } from "../base/clock.ts";
import type { NbdAddress } from "./address.ts";

/** Bounds on a server's patience-testing, in milliseconds. */
export interface NbdTimeouts {
  /** From connecting to the end of the handshake. */
  readonly handshakeMs: number;
  /** While requests are pending: the longest time in which none is answered in full. */
  readonly replyMs: number;
}

/** Ten seconds for the handshake, a minute for an answer. */
export const defaultTimeouts: NbdTimeouts = { handshakeMs: 10_000, replyMs: 60_000 };

/** How to reach a server over TLS 1.3; without it, or with a server that has no TLS, there is no connection. */
export interface NbdClientTls {
  /** Certificates, PEM, that the server's must come from; public authorities are not asked. */
  readonly authorityPem: string;
  /** Host name or IP address that the server's certificate must bear. Default: the address' host. */
  readonly serverName?: string;
  /** For servers that want to know who asks: PKCS #8 and certificates, PEM. */
  readonly identity?: { readonly privateKeyPem: string; readonly certificatePem: string };
}

/** What every connection takes. */
export interface NbdDialOptions {
  readonly address: NbdAddress;
  /** Nothing but the words that lead to TLS is said in the clear. Rejects with PEER_REFUSED when the server is not who it should be. */
  readonly tls?: NbdClientTls;
  /** Aborting it ends the connection at any time; what is pending rejects with its reason. */
  readonly signal?: AbortSignal;
  readonly timeouts?: Partial<NbdTimeouts>;
  readonly clock?: Clock;
}

/** What one connection to an export takes. */
export interface NbdClientOptions extends NbdDialOptions {
  /** Empty: the server's default export. */
  readonly exportName?: string;
  /** All are selected, or connecting rejects with NBD_REFUSED. Needs structured replies. */
  readonly metaContexts?: readonly string[];
  /**
   * `simple`: the payload of every READ lands in the caller's buffer and holes travel as zeroes. `structured`: holes do not
   * travel. Default: structured when meta contexts are selected, which need it, else simple.
   */
  readonly replies?: "simple" | "structured";
  /** Requests sent and not answered; more wait their turn. Default 16. */
  readonly requestsInFlightMax?: number;
}

/** The dial options with nothing left open. */
export interface Dial {
  readonly address: NbdAddress;
  readonly signal: AbortSignal | null;
  readonly timeouts: NbdTimeouts;
  readonly clock: Clock;
  readonly tls: NbdClientTls | null;
}

/** The dial options with the defaults filled in. */
export function completeDial(options: NbdDialOptions): Dial {
  return {
    address: options.address,
    signal: options.signal ?? null,
    timeouts: { ...defaultTimeouts, ...options.timeouts },
    clock: options.clock ?? systemClock(),
    tls: options.tls ?? null,
  };
}

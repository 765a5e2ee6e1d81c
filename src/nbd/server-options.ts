import { MIB } from "../base/units.ts";

/** Bounds on what clients may cost, each per connection unless its name says otherwise. */
export interface NbdServerLimits {
  /** Of the whole server; further ones are closed at once. */
  readonly connectionsMax: number;
  /** Requests read and not answered; the next is read when one is. */
  readonly requestsInFlightMax: number;
  /** Payload in memory: requests read and answers not yet taken. One request is always admitted. */
  readonly bytesInFlightMax: number;
  /** From accepting to the end of the handshake. */
  readonly handshakeMs: number;
  /** From the first byte of a request to its last; and for the client to take an answer that is ready. */
  readonly requestMs: number;
  /** With TLS: how often it is decided again whether the client is let in. */
  readonly readmitMs: number;
  /** For requests under way when the server is closed. */
  readonly shutdownMs: number;
}

/** At worst 1 GiB of payload in memory: every connection there may be, full. */
export const defaultServerLimits: NbdServerLimits = {
  connectionsMax: 32,
  requestsInFlightMax: 64,
  bytesInFlightMax: 32 * MIB,
  handshakeMs: 10_000,
  requestMs: 30_000,
  readmitMs: 10_000,
  shutdownMs: 5_000,
};

/** Something a server's owner may want to log: the client is told no more than an error number. */
export interface NbdServerIncident {
  readonly kind:
    | "request failed"
    | "client broke the protocol"
    | "client too slow"
    | "client refused";
  readonly error: unknown;
  readonly exportName: string | null;
  /** Host and port of the client; empty on a unix socket. */
  readonly address: string;
}

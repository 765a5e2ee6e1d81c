import type { Fault } from "../base/fault.ts";

/** Who is at the other end, from the certificate. */
export interface Peer {
  readonly name: string;
  readonly role: "replicator" | "vault";
  /** 16 hex digits in a replicator's certificate: the only holder of generations that it can claim to be. Of a vault: its id. */
  readonly id: string;
  /** Host and port, for logs. */
  readonly address: string;
}

/**
 * Bytes in order between two sites, the peer already authenticated. A TLS socket in life, a queue in the simulator. It may end
 * at any time, at either end alone (half-open), and what was sent last may or may not have arrived.
 */
export interface Channel extends AsyncDisposable {
  readonly peer: Peer;
  /**
   * Sends the parts one after the other; resolves when there is room for more, not when they arrived. The buffers must not
   * change after the call. LINK_LOST once the channel is over.
   */
  send(parts: readonly Uint8Array[]): Promise<void>;
  /**
   * Hands over what arrives, in order; called once, before the first turn of the event loop ends. `bytes` belong to the taker.
   * While the promise that `take` returned is pending nothing more is handed over, and in the end the peer's `send` waits.
   * A taker that copies what it keeps says `isBorrowed`, and receiving costs half: the bytes are its own only until `take`
   * returned null or its promise settled.
   */
  receive(
    take: (bytes: Uint8Array) => Promise<void> | null,
    options?: { readonly isBorrowed?: boolean },
  ): void;
  /** Resolves, never rejects, when the channel is over: with null after our own dispose, else with why. */
  readonly closed: Promise<Fault | null>;
  /** On the wire as far as is known, encryption included. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Makes channels to the peer. LINK_LOST (may pass), PEER_REFUSED (a person must act). */
export type Dial = (options: { readonly signal: AbortSignal }) => Promise<Channel>;

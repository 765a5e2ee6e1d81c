import { KIB } from "../base/units.ts";

/** What replicators speak to the vault (RFC 7301); the number is that of the wire format. */
export const linkProtocol = "afterimage/1";
/** What asks for certificates speaks, on the same port. */
export const enrolProtocol = "afterimage-enrol/1";
/**
 * Suites of TLS 1.3 (RFC 8446, B.4), best first. AES-128-GCM is the fastest where the processor has AES instructions, and
 * no weaker in practice: what an attacker must break is the key exchange.
 */
export const cipherSuites =
  "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/** Longest certificate or key file that is read. */
export const pemBytesMax = 64 * KIB;
/** Longest first record of a peer: one ClientHello (RFC 8446, 5.1: at most 2^14 bytes of content, 5 of header). */
export const firstRecordBytesMax = 16 * KIB + 5;
/** Longest request or answer of an enrolment. */
export const enrolMessageBytesMax = 16 * KIB;

/** What a listener bears from peers, whoever they are. */
export interface TlsListenerLimits {
  /** From accepting to the end of the handshake; for an enrolment to the end of the whole exchange. */
  readonly handshakeMs: number;
  /** Connections of all addresses whose peer is not known yet, enrolments among them; further ones are closed at once. */
  readonly handshakesMax: number;
  /** The same of one address, so that one host cannot keep all others out. */
  readonly handshakesPerAddressMax: number;
  /** Channels of one peer. */
  readonly channelsPerPeerMax: number;
  /** Channels of all peers. */
  readonly channelsMax: number;
  /** How often established channels are checked for expiry and revocation. */
  readonly recheckMs: number;
}

/** Enough for a few dozen replicators with a handful of connections each, and for a storm in which all come back at once. */
export const defaultListenerLimits: TlsListenerLimits = {
  handshakeMs: 10_000,
  handshakesMax: 256,
  handshakesPerAddressMax: 64,
  channelsPerPeerMax: 32,
  channelsMax: 1024,
  recheckMs: 10_000,
};

/** Idle time after which the kernel asks whether the peer's host is still there. */
export const keepAliveMs = 15_000;
/** Bounds a dial, from connecting to the end of the handshake. */
export const dialMsDefault = 10_000;

import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import tls from "node:tls";

/** How a server speaks TLS 1.3; it then speaks nothing else. */
export interface NbdServerTls {
  /** Asked anew for every connection, so that a renewed certificate is used from then on. */
  readonly secureContext: () => tls.SecureContext;
  /**
   * Decides about a client by its certificate, whose private key it has proved to hold; nothing else about it was checked.
   * Resolves with why it is refused, for the log alone, or null.
   */
  readonly refusalOf: (certificate: X509Certificate | undefined) => Promise<string | null>;
}

/** Starts TLS on an accepted connection; established when it emits `secure`. */
export function secureServer(raw: Socket, { secureContext }: NbdServerTls): tls.TLSSocket {
  return new tls.TLSSocket(raw, {
    isServer: true,
    secureContext: secureContext(),
    requestCert: true,
    // Decided by `refusalOf` after the handshake.
    rejectUnauthorized: false,
  });
}

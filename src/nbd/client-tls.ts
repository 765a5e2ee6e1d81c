import type { Socket } from "node:net";
import { isIP } from "node:net";
import tls from "node:tls";
import type { NbdAddress } from "./address.ts";

import type { NbdClientTls } from "./client-options.ts";

/** Starts TLS on a connection; the caller looks at `authorized` once it is established. */
export function secureClient(
  raw: Socket,
  options: NbdClientTls,
  address: NbdAddress,
): tls.TLSSocket {
  const host = "host" in address ? address.host : "";
  const serverName = options.serverName ?? host;
  const { identity } = options;
  return tls.connect({
    socket: raw,
    ca: options.authorityPem,
    ...(identity === undefined
      ? {}
      : { key: identity.privateKeyPem, cert: identity.certificatePem }),
    minVersion: "TLSv1.3",
    // Addresses are not allowed as server names on the wire (RFC 6066, 3).
    servername: isIP(serverName) === 0 ? serverName : "",
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(serverName, certificate),
    rejectUnauthorized: false,
  });
}

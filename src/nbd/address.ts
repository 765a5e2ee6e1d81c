/** Where an NBD server listens. */
export type NbdAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** Longest path of a unix socket, in bytes (sun_path of unix(7), less its final zero). */
export const socketPathBytesMax = 107;

/** What makes this no address at all, for messages; null when nothing does. */
export function addressProblem(address: NbdAddress): string | null {
  if ("path" in address) {
    const isTooLong = Buffer.byteLength(address.path) > socketPathBytesMax;
    return isTooLong ? `a socket's path has at most ${socketPathBytesMax} bytes` : null;
  }
  const isPort = Number.isInteger(address.port) && address.port >= 0 && address.port < 65_536;
  return isPort ? null : "a port is a number from 0 to 65535";
}

/** The address for messages: "unix:/run/x.sock" or "127.0.0.1:10809". */
export function formatNbdAddress(address: NbdAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** The URI other programs take for an export (NetworkBlockDevice/nbd, doc/uri.md); `nbds` insists on TLS. */
export function nbdUri(
  address: NbdAddress,
  exportName: string,
  { hasTls = false }: { readonly hasTls?: boolean } = {},
): string {
  const scheme = hasTls ? "nbds" : "nbd";
  const name = encodeURIComponent(exportName);
  if ("path" in address) {
    const path = encodeURIComponent(address.path).replaceAll("%2F", "/");
    return `${scheme}+unix:///${name}?socket=${path}`;
  }
  return `${scheme}://${formatNbdAddress(address)}/${name}`;
}

/** Whether only this host can reach what listens there. */
export function isLoopback(address: NbdAddress): boolean {
  if ("path" in address) return true;
  return /^(localhost|::1|127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/.test(address.host);
}

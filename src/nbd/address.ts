/** Where an NBD server listens. */
export type NbdAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** The address for messages: "unix:/run/x.sock" or "127.0.0.1:10809". */
export function formatNbdAddress(address: NbdAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** The URI other programs take for an export (NetworkBlockDevice/nbd, doc/uri.md). */
export function nbdUri(address: NbdAddress, exportName: string): string {
  const name = encodeURIComponent(exportName);
  if ("path" in address) {
    const path = encodeURIComponent(address.path).replaceAll("%2F", "/");
    return `nbd+unix:///${name}?socket=${path}`;
  }
  return `nbd://${formatNbdAddress(address)}/${name}`;
}

/** Whether only this host can reach what listens there. */
export function isLoopback(address: NbdAddress): boolean {
  if ("path" in address) return true;
  return /^(localhost|::1|127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/.test(address.host);
}

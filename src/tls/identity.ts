import type { Peer } from "../core/channel.ts";

/** Who one is before others: a private key and the certificate for it. */
export interface TlsIdentity {
  /** PKCS #8, PEM. Never leaves the host on which it was made. */
  readonly privateKeyPem: string;
  /** The certificate and that of its authority, PEM, one after the other. */
  readonly certificatePem: string;
}

/** Whom one believes: the one authority, which is pinned. Public authorities are never asked. */
export interface TlsTrust {
  readonly authorityPem: string;
  /** Believe this vault alone; every vault of the authority when left out. */
  readonly vaultId?: string;
}

/** What is in use now: a renewed one takes the place of the old for every new connection. */
export type CurrentIdentity = () => TlsIdentity;

/** What a certificate is for; a reader only reads points over NBD. */
export type CertificateRole = Peer["role"] | "reader";

/** Whom a checked certificate names. */
export interface CertificateHolder {
  readonly role: CertificateRole;
  readonly name: string;
  readonly id: string;
  /** Lower-case hex, unique within the authority. */
  readonly serialNumber: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Where a site listens. */
export interface SiteAddress {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/i;
const idPattern = /^[0-9a-f]{16}$/;

/** Whether the text may name a replicator or reader: 1 to 63 letters, digits, '-', '_', '.', a letter or digit first. */
export function isHolderName(text: string): boolean {
  return namePattern.test(text);
}

/** Whether the text is an id of a replicator, a reader or a vault: 16 lower-case hex digits. */
export function isHolderId(text: string): boolean {
  return idPattern.test(text);
}

/** The URI in the certificate that says who its holder is. A vault's name is its id. */
export function holderUri(holder: Pick<CertificateHolder, "role" | "name" | "id">): string {
  return holder.role === "vault"
    ? `urn:afterimage:vault:${holder.id}`
    : `urn:afterimage:${holder.role}:${holder.name}:${holder.id}`;
}

/** Reads `holderUri` back; null when it is none. */
export function parseHolderUri(
  uri: string,
): Pick<CertificateHolder, "role" | "name" | "id"> | null {
  const [urn, product, role, ...rest] = uri.split(":");
  if (urn !== "urn" || product !== "afterimage") return null;
  if (role === "vault") {
    const [id, ...more] = rest;
    if (id === undefined || more.length > 0 || !idPattern.test(id)) return null;
    return { role, name: id, id };
  }
  if (role !== "replicator" && role !== "reader") return null;
  const [name, id, ...more] = rest;
  if (name === undefined || id === undefined || more.length > 0) return null;
  return isHolderName(name) && isHolderId(id) ? { role, name, id } : null;
}

/** "vault.example:7420", "[2001:db8::1]:7420": an address for messages and tokens. */
export function formatSiteAddress({ host, port }: SiteAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

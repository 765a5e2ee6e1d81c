import { X509Certificate } from "node:crypto";
import {
  type CertificateHolder,
  type CertificateRole,
  parseHolderUri,
  type TlsTrust,
} from "./identity.ts";

/** Extended key usages (RFC 5280, 4.2.1.12). */
export const serverAuthUsage = "1.3.6.1.5.5.7.3.1";
export const clientAuthUsage = "1.3.6.1.5.5.7.3.2";

/** What a certificate came to: whom it names, or why it is not believed. */
export type CertificateVerdict =
  | { readonly holder: CertificateHolder; readonly refusal: null }
  | { readonly holder: CertificateHolder | null; readonly refusal: string };

/** What a certificate is held against. */
export interface CertificateExpectation {
  readonly trust: TlsTrust;
  readonly roles: readonly CertificateRole[];
  readonly nowMs: number;
}

/**
 * Decides about a peer's certificate, the same way at both ends. TLS has proved that the peer holds the private key; here it is
 * checked that our one authority signed this certificate, for this role, and that its time has come and is not over. The
 * authority signs leaves alone, so there is no chain to build.
 */
export function checkCertificate(
  certificate: X509Certificate | undefined,
  { trust, roles, nowMs }: CertificateExpectation,
): CertificateVerdict {
  if (certificate === undefined) return { holder: null, refusal: "no certificate" };
  const authority = new X509Certificate(trust.authorityPem);
  if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey)) {
    return { holder: null, refusal: "a certificate of another authority" };
  }
  const holder = readHolder(certificate);
  if (holder === null || certificate.ca) {
    return { holder: null, refusal: "a certificate that names no holder" };
  }
  const refuse = (refusal: string) => ({ holder, refusal });
  const usage = holder.role === "vault" ? serverAuthUsage : clientAuthUsage;
  if (!roles.includes(holder.role) || !(certificate.keyUsage ?? []).includes(usage)) {
    return refuse(`a certificate for the role ${holder.role}`);
  }
  if (nowMs >= holder.notAfterMs) return refuse("an expired certificate");
  if (nowMs < holder.notBeforeMs) return refuse("a certificate that is not valid yet");
  if (trust.vaultId !== undefined && holder.role === "vault" && holder.id !== trust.vaultId) {
    return refuse("the certificate of another vault");
  }
  return { holder, refusal: null };
}

/** Whom the certificate names, whether or not it is to be believed; null when nobody or more than one. */
export function readHolder(certificate: X509Certificate): CertificateHolder | null {
  // Values with characters that could be mistaken for the separator are quoted by Node, and ours never have any.
  const uris = (certificate.subjectAltName ?? "")
    .split(", ")
    .filter((name) => name.startsWith("URI:urn:afterimage:"));
  const named = uris.length === 1 ? parseHolderUri(uris[0]!.slice("URI:".length)) : null;
  if (named === null) return null;
  return {
    ...named,
    serialNumber: certificate.serialNumber.toLowerCase(),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  };
}

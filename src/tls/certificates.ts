import { type webcrypto, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type {
  Extension,
  JsonGeneralNames,
  X509Certificate as MadeCertificate,
} from "@peculiar/x509";
import { type Prng, randomHex } from "../base/prng.ts";
import { clientAuthUsage, serverAuthUsage } from "./check-certificate.ts";
import {
  type CertificateHolder,
  holderUri,
  isHolderId,
  isHolderName,
  type TlsIdentity,
} from "./identity.ts";

const dayMs = 86_400_000;
/** How long the authority lasts. Replacing it means enrolling everybody again. */
export const authorityMs = 3650 * dayMs;
/** How long a certificate of the vault or of a replicator lasts; both renew themselves. */
export const certificateMs = 30 * dayMs;
/**
 * Certificates begin an hour before they are made: the peer's clock may be behind ours, and one that was made just now must
 * not be refused as of tomorrow. Sites whose clocks differ by more have a problem that is reported elsewhere.
 */
const backdatedMs = 3_600_000;

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** An authority: the one key that a vault's certificates are signed with. */
export interface Authority {
  readonly privateKeyPem: string;
  readonly certificatePem: string;
}

/** The library is large and needs a polyfill of its own; most processes never make a certificate. */
async function loadX509(): Promise<typeof import("@peculiar/x509")> {
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

/** SHA-256 of the certificate, lower-case hex: what an invitation pins. */
export function fingerprintOf(certificatePem: string): string {
  return new X509Certificate(certificatePem).fingerprint256.replaceAll(":", "").toLowerCase();
}

/** Makes the key and certificate of an authority. */
export async function makeAuthority(options: {
  readonly vaultId: string;
  readonly nowMs: number;
  readonly prng: Prng;
}): Promise<Authority> {
  const x509 = await loadX509();
  const keys = await makeKeys();
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: drawSerialNumber(options.prng),
    name: `CN=afterimage vault ${options.vaultId}`,
    ...lifetime(options.nowMs, authorityMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { privateKeyPem: await exportKey(keys), certificatePem: pemOf(certificate) };
}

/** What a certificate is to say. */
export interface CertificateWish {
  readonly holder: Pick<CertificateHolder, "role" | "name" | "id">;
  /** Host names and IP addresses that the holder answers at; for the programs of others, which look at nothing else. */
  readonly hosts?: readonly string[];
  readonly nowMs: number;
  readonly validMs: number;
}

/** Signs a certificate for the public key (SPKI, DER). Returns it with the authority's behind it, and what it says. */
export async function signCertificate(
  authority: Authority,
  publicKeyDer: Uint8Array,
  wish: CertificateWish & { readonly prng: Prng },
): Promise<{ readonly certificatePem: string; readonly holder: CertificateHolder }> {
  const x509 = await loadX509();
  const signingKey = await importSigningKey(authority.privateKeyPem);
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const serialNumber = drawSerialNumber(wish.prng);
  const { notBefore, notAfter } = lifetime(wish.nowMs, wish.validMs);
  // An authority that ends sooner would make the rest of the time a promise nobody keeps.
  const end = new Date(Math.min(notAfter.getTime(), issuer.notAfter.getTime()));
  // An elliptic key enciphers no keys, but QEMU refuses certificates that do not say that they may.
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  const usage = wish.holder.role === "vault" ? serverAuthUsage : clientAuthUsage;
  const publicKey = new x509.PublicKey(publicKeyDer);
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(digitalSignature | keyEncipherment, true),
    new x509.ExtendedKeyUsageExtension([usage], false),
    new x509.SubjectAlternativeNameExtension(namesOf(wish)),
    await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber,
    subject: `CN=${wish.holder.role} ${wish.holder.name}`,
    issuer: issuer.subject,
    notBefore,
    notAfter: end,
    publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions,
  });
  const certificatePem = `${pemOf(certificate)}${issuer.toString("pem")}\n`;
  const { role, name, id } = wish.holder;
  const notBeforeMs = certificate.notBefore.getTime();
  const notAfterMs = certificate.notAfter.getTime();
  return { certificatePem, holder: { role, name, id, serialNumber, notBeforeMs, notAfterMs } };
}

/** Makes a key and has the authority sign for it at once: for the vault itself, and for readers. */
export async function issueIdentity(
  authority: Authority,
  wish: CertificateWish & { readonly prng: Prng },
): Promise<{ readonly identity: TlsIdentity; readonly holder: CertificateHolder }> {
  const keys = await makeKeys();
  const publicKeyDer = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  const { certificatePem, holder } = await signCertificate(authority, publicKeyDer, wish);
  return { identity: { privateKeyPem: await exportKey(keys), certificatePem }, holder };
}

/** Makes a key pair and a PKCS #10 request, which proves that whoever sends it holds the key. */
export async function makeRequest(
  name: string,
): Promise<{ readonly privateKeyPem: string; readonly requestDer: Uint8Array }> {
  const x509 = await loadX509();
  const keys = await makeKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
  });
  return { privateKeyPem: await exportKey(keys), requestDer: new Uint8Array(request.rawData) };
}

/** The public key (SPKI, DER) of a request that proves possession of it; null for anything else. Takes hostile bytes. */
export async function provenKey(requestDer: Uint8Array): Promise<Uint8Array | null> {
  const x509 = await loadX509();
  try {
    const request = new x509.Pkcs10CertificateRequest(requestDer);
    const publicKeyDer = new Uint8Array(request.publicKey.rawData);
    // Only keys of the kind that we make ourselves: no parser of others' is ever reached.
    await crypto.subtle.importKey("spki", publicKeyDer, algorithm, true, ["verify"]);
    return (await request.verify()) ? publicKeyDer : null;
  } catch {
    return null; // Whatever the parser made of it, it is no request.
  }
}

function namesOf(wish: CertificateWish): JsonGeneralNames {
  const { role, name, id } = wish.holder;
  if (!isHolderId(id) || (role !== "vault" && !isHolderName(name))) {
    throw new TypeError(`no certificate for ${role} "${name}", id "${id}"`);
  }
  const hosts = (wish.hosts ?? []).map((host) => ({
    type: isIP(host) === 0 ? ("dns" as const) : ("ip" as const),
    value: host,
  }));
  return [{ type: "url", value: holderUri(wish.holder) }, ...hosts];
}

function lifetime(nowMs: number, validMs: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - backdatedMs), notAfter: new Date(nowMs + validMs) };
}

/** 15 random bytes behind a first one that keeps it positive and of full length (RFC 5280, 4.1.2.2). */
function drawSerialNumber(prng: Prng): string {
  return `01${randomHex(prng, 15)}`;
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function importSigningKey(privateKeyPem: string): Promise<CryptoKey> {
  const x509 = await loadX509();
  const der = x509.PemConverter.decodeFirst(privateKeyPem);
  return await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
}

async function exportKey(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const x509 = await loadX509();
  const der = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`;
}

function pemOf(certificate: MadeCertificate): string {
  return `${certificate.toString("pem")}\n`;
}

import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { formatSiteAddress, type SiteAddress } from "./identity.ts";

/** What an invitation carries from the vault's administrator to the replicator's. Whoever holds it may use it. */
export interface Invitation {
  /** Where the vault answers; tried in this order. */
  readonly addresses: readonly SiteAddress[];
  /** SHA-256 of the certificate of the vault's authority, 64 hex digits: the replicator believes no other. */
  readonly fingerprint: string;
  /** 16 hex digits. */
  readonly id: string;
  /** 32 random bytes. The vault keeps only their hash. */
  readonly secret: Uint8Array;
}

/** Bytes of an invitation's secret. */
export const secretBytes = 32;
/** Addresses that a token may carry. */
export const addressesMax = 8;
/** Longest token that is read. */
const tokenLengthMax = 4096;
/** The version stands in the prefix, so that a later one is told apart before anything is read. */
const prefix = "afterimage1-";
/** Of SHA-256: finds what was cut off or mistyped, not what was forged; a forged one has no secret. */
const checksumBytes = 6;

const payloadSchema = z.strictObject({
  a: z.array(z.string().max(300)).min(1).max(addressesMax),
  f: z.string().regex(/^[0-9a-f]{64}$/),
  i: z.string().regex(/^[0-9a-f]{16}$/),
  s: z.string().regex(/^[0-9a-f]{64}$/),
});

/** The invitation as one word that survives mail and terminals: prefix, then JSON and checksum as base64url. */
export function encodeToken(invitation: Invitation): string {
  const payload = {
    a: invitation.addresses.map(formatSiteAddress),
    f: invitation.fingerprint,
    i: invitation.id,
    s: Buffer.from(invitation.secret).toString("hex"),
  };
  const bytes = Buffer.from(JSON.stringify(payload));
  return prefix + Buffer.concat([bytes, checksumOf(bytes)]).toString("base64url");
}

/** Reads a token; TOKEN_INVALID when it is damaged or of another version. */
export function decodeToken(token: string): Invitation {
  const text = token.trim();
  if (!text.startsWith(prefix)) throw invalid("it is no invitation of this version");
  if (text.length > tokenLengthMax) throw invalid("it is too long");
  const body = text.slice(prefix.length);
  const all = Buffer.from(body, "base64url");
  // Node skips what is not base64url: only what reads back as it was written counts.
  if (all.length <= checksumBytes || all.toString("base64url") !== body) throw damaged();
  const bytes = all.subarray(0, -checksumBytes);
  if (!timingSafeEqual(all.subarray(-checksumBytes), checksumOf(bytes))) throw damaged();
  const parsed = payloadSchema.safeParse(readJson(bytes));
  if (!parsed.success) throw damaged();
  const { a, f, i, s } = parsed.data;
  const addresses = a.map((address) => parseSiteAddress(address) ?? fail());
  return { addresses, fingerprint: f, id: i, secret: Buffer.from(s, "hex") };
}

/** "host:port" or "[address]:port"; null when it is neither. */
export function parseSiteAddress(text: string): SiteAddress | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+)):(\d{1,5})$/i.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535)) return null;
  return { host, port };
}

/** SHA-256 of an invitation's secret, as the vault keeps it. */
export function hashSecret(secret: Uint8Array): Buffer {
  return createHash("sha256").update("afterimage invitation\n").update(secret).digest();
}

function checksumOf(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest().subarray(0, checksumBytes);
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return null; // No JSON is no invitation.
  }
}

function fail(): never {
  throw damaged();
}

function damaged(): Fault {
  return invalid("it is damaged");
}

function invalid(reason: string): Fault {
  return new Fault("TOKEN_INVALID", `the token cannot be used: ${reason}`, { reason });
}

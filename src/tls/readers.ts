import { constants, type X509Certificate } from "node:crypto";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import { KIB } from "../base/units.ts";
import { tlsLayout } from "./authority-store.ts";
import { type Authority, issueIdentity } from "./certificates.ts";
import { checkCertificate } from "./check-certificate.ts";
import { type CertificateHolder, isHolderName, type TlsIdentity } from "./identity.ts";
import { cipherSuites } from "./tls-limits.ts";
import type { VaultIdentity } from "./vault-identity.ts";

/** A reader's certificate lasts so long when nobody says otherwise; nothing renews it. */
export const readerMsDefault = 365 * 86_400_000;

const recordBytesMax = 4 * KIB;
const recordSchema = z.object({
  id: z.string(),
  serialNumber: z.string(),
  notAfterMs: z.int(),
});

/** What making a reader takes. */
export interface IssueReaderOptions {
  readonly files: FileSystem;
  readonly vaultDirectory: string;
  readonly authority: Authority;
  /** Of the host or program that will read; an earlier certificate of that name is not believed any more. */
  readonly name: string;
  readonly validMs?: number;
  readonly clock: Clock;
  readonly prng: Prng;
}

/**
 * Makes key and certificate for a host that reads points over NBD. A reader is one file, so this needs no lock: a serving vault
 * goes on. USAGE for a name that is none.
 */
export async function issueReader(
  options: IssueReaderOptions,
): Promise<{ readonly identity: TlsIdentity; readonly holder: CertificateHolder }> {
  const { files, vaultDirectory, authority, name, clock, prng } = options;
  if (!isHolderName(name)) throw new Fault("USAGE", `"${name}" is no reader's name`, { name });
  const { readers } = tlsLayout(vaultDirectory);
  await files.makeDirectory(readers);
  const issued = await issueIdentity(authority, {
    holder: { role: "reader", name, id: randomHex(prng, 8) },
    nowMs: clock.nowMs(),
    validMs: options.validMs ?? readerMsDefault,
    prng,
  });
  const { id, serialNumber, notAfterMs } = issued.holder;
  const record = Buffer.from(`${JSON.stringify({ id, serialNumber, notAfterMs })}\n`);
  await writeFileAtomically(files, recordFile(vaultDirectory, name), record);
  return issued;
}

/** Believes the reader no more; false when there is none of that name. */
export async function revokeReader(
  files: FileSystem,
  vaultDirectory: string,
  name: string,
): Promise<boolean> {
  if (!isHolderName(name)) return false;
  const path = recordFile(vaultDirectory, name);
  if ((await files.stat(path)) === null) return false;
  await files.remove(path);
  await files.syncDirectory(tlsLayout(vaultDirectory).readers);
  return true;
}

/** What lets readers in: the two things that an NBD server with TLS asks for. */
export interface ReaderAdmission {
  readonly secureContext: () => SecureContext;
  readonly refusalOf: (certificate: X509Certificate | undefined) => Promise<string | null>;
}

/** Lets in whoever holds a reader's certificate of this vault that was not revoked. */
export function admitReaders(options: {
  readonly files: FileSystem;
  readonly vaultDirectory: string;
  readonly identity: Pick<VaultIdentity, "trust" | "current">;
  readonly clock: Clock;
}): ReaderAdmission {
  const { files, vaultDirectory, identity, clock } = options;
  return {
    secureContext: () => {
      const { privateKeyPem, certificatePem } = identity.current();
      return createSecureContext({
        key: privateKeyPem,
        cert: certificatePem,
        // Told to clients, some of which choose their certificate by it.
        ca: identity.trust.authorityPem,
        minVersion: "TLSv1.3",
        ciphers: cipherSuites,
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
    },
    refusalOf: async (certificate) => {
      const { trust } = identity;
      const nowMs = clock.nowMs();
      const verdict = checkCertificate(certificate, { trust, roles: ["reader"], nowMs });
      if (verdict.refusal !== null) return verdict.refusal;
      const isKnown = await isEnrolled(files, vaultDirectory, verdict.holder);
      return isKnown ? null : "a revoked certificate";
    },
  };
}

async function isEnrolled(
  files: FileSystem,
  vaultDirectory: string,
  holder: CertificateHolder,
): Promise<boolean> {
  const content = await readSmallFile(
    files,
    recordFile(vaultDirectory, holder.name),
    recordBytesMax,
  );
  if (content === null) return false;
  const record = recordSchema.safeParse(readJson(content));
  return record.success && record.data.serialNumber === holder.serialNumber;
}

function readJson(content: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(content).toString("utf8"));
  } catch {
    return null; // A damaged record enrols nobody.
  }
}

function recordFile(vaultDirectory: string, name: string): string {
  return join(tlsLayout(vaultDirectory).readers, `${name}.json`);
}

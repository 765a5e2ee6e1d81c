import { dirname, join } from "node:path";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { Prng } from "../base/prng.ts";
import { type Authority, makeAuthority } from "./certificates.ts";
import { secureContextOf } from "./dial.ts";
import { pemBytesMax } from "./tls-limits.ts";

/** Where a vault keeps who it is and whom it believes. Everything that knows a name in there asks here. */
export function tlsLayout(vaultDirectory: string) {
  const directory = join(vaultDirectory, "tls");
  return {
    directory,
    /** Key and certificate of the authority. */
    authority: join(directory, "authority.pem"),
    /** The same certificate alone, for the programs of others; derived. */
    authorityCertificate: join(directory, "ca-cert.pem"),
    /** Key and certificate of the vault. */
    vault: join(directory, "vault.pem"),
    /** Invitations, and who is enrolled. */
    enrolment: join(directory, "enrolment.json"),
    /** One file for each reader. */
    readers: join(directory, "readers"),
  };
}

/** What keeping an authority takes. */
export interface AuthorityStoreOptions {
  readonly files: FileSystem;
  readonly vaultDirectory: string;
  /** 16 hex digits. */
  readonly vaultId: string;
  readonly clock: Clock;
  readonly prng: Prng;
}

/**
 * The vault's authority, made at first need. Key and certificate are one file, so there is never one without the other. The caller
 * holds the vault's writer lock, or there is one already.
 */
export async function openAuthority(options: AuthorityStoreOptions): Promise<Authority> {
  const held = await readAuthority(options.files, options.vaultDirectory);
  const layout = tlsLayout(options.vaultDirectory);
  const authority = held ?? (await makeStored(options));
  // Derived, and last: a kill in between leaves it to the next start.
  if ((await options.files.stat(layout.authorityCertificate)) === null) {
    const content = Buffer.from(authority.certificatePem);
    await writeFileAtomically(options.files, layout.authorityCertificate, content);
  }
  return authority;
}

/** The vault's authority, or null while it has none. */
export async function readAuthority(
  files: FileSystem,
  vaultDirectory: string,
): Promise<Authority | null> {
  return await readPemPair(files, tlsLayout(vaultDirectory).authority);
}

async function makeStored(options: AuthorityStoreOptions): Promise<Authority> {
  const { files, vaultDirectory, vaultId, clock, prng } = options;
  const layout = tlsLayout(vaultDirectory);
  await files.makeDirectory(layout.directory);
  await files.syncDirectory(dirname(layout.directory));
  const authority = await makeAuthority({ vaultId, nowMs: clock.nowMs(), prng });
  await writePemPair(files, layout.authority, authority);
  return authority;
}

/** Writes key and certificates as one private file. */
export async function writePemPair(
  files: FileSystem,
  path: string,
  pair: { readonly privateKeyPem: string; readonly certificatePem: string },
): Promise<void> {
  const content = Buffer.from(pair.privateKeyPem + pair.certificatePem);
  await writeFileAtomically(files, path, content, { isPrivate: true });
}

const keyEnd = "-----END PRIVATE KEY-----\n";

/** Reads what `writePemPair` wrote; null when the file is not there, STORAGE_FAILED when it holds something else. */
export async function readPemPair(
  files: FileSystem,
  path: string,
): Promise<{ privateKeyPem: string; certificatePem: string } | null> {
  const content = await readSmallFile(files, path, pemBytesMax);
  if (content === null) return null;
  const text = Buffer.from(content).toString("latin1");
  const end = text.indexOf(keyEnd);
  const certificatePem = text.slice(end + keyEnd.length);
  const pair = { privateKeyPem: text.slice(0, end + keyEnd.length), certificatePem };
  try {
    if (end < 0) throw new TypeError("no private key");
    secureContextOf(pair); // Throws unless the key is the certificate's.
  } catch (error) {
    const message = `${path} holds no key with its certificate`;
    throw new Fault("STORAGE_FAILED", message, { path, reason: "no key" }, { cause: error });
  }
  return pair;
}

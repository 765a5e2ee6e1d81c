import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TlsIdentity, TlsTrust } from "../src/tls/identity.ts";
import { identitiesForTest } from "../src/tls/identity-for-test.ts";

/** A vault's and a replicator's identity of one authority, for ours, and the same as files for GnuTLS programs. */
export interface LinkIdentities {
  readonly trust: TlsTrust;
  readonly vault: TlsIdentity;
  readonly replicator: TlsIdentity;
  /** 16 hex digits: the holder of the generation. */
  readonly replicatorId: string;
}

/** Makes them in `directory`: `identities.json`, and PEM files named as nbdkit and libnbd want them. */
export async function makeIdentities(directory: string): Promise<void> {
  const { trust, vault, replicator, replicatorHolder } = await identitiesForTest();
  const identities = { trust, vault, replicator, replicatorId: replicatorHolder.id };
  await writeFile(join(directory, "identities.json"), JSON.stringify(identities));
  const files = {
    "ca-cert.pem": trust.authorityPem,
    "server-cert.pem": vault.certificatePem,
    "server-key.pem": vault.privateKeyPem,
    "client-cert.pem": replicator.certificatePem,
    "client-key.pem": replicator.privateKeyPem,
  };
  for (const [name, pem] of Object.entries(files)) await writeFile(join(directory, name), pem);
}

export async function readIdentities(directory: string): Promise<LinkIdentities> {
  return JSON.parse(await readFile(join(directory, "identities.json"), "utf8")) as LinkIdentities;
}

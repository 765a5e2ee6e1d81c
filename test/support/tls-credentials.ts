import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { memoryFileSystem } from "../../src/base/memory-file-system.ts";
import type { NbdClientTls } from "../../src/nbd/client-options.ts";
import type { NbdServerTls } from "../../src/nbd/server-tls.ts";
import type { TlsIdentity } from "../../src/tls/identity.ts";
import { type IdentitiesForTest, identitiesForTest } from "../../src/tls/identity-for-test.ts";
import { admitReaders, issueReader } from "../../src/tls/readers.ts";

/** A vault's authority, a server that admits its reader, and that reader. */
export interface CredentialsForTest {
  readonly ids: IdentitiesForTest;
  readonly server: NbdServerTls;
  readonly reader: TlsIdentity;
  readonly client: NbdClientTls;
}

/** Makes them. */
export async function credentialsForTest(): Promise<CredentialsForTest> {
  const ids = await identitiesForTest({ seed: 3 });
  const files = memoryFileSystem();
  const clock = systemClock();
  const vaultDirectory = "/vault";
  const { authority, trust } = ids;
  const prng = { below: () => 0, fill: (into: Uint8Array) => void into.fill(9) };
  const common = { files, vaultDirectory, clock };
  const reader = await issueReader({ ...common, authority, name: "host-b", prng });
  const identity = { trust, current: () => ids.vault };
  return {
    ids,
    server: admitReaders({ ...common, identity }),
    reader: reader.identity,
    client: { authorityPem: trust.authorityPem, identity: reader.identity },
  };
}

/** Lays files out as QEMU, libnbd and nbdkit look for them. */
export async function writeCredentials(
  directory: string,
  authorityPem: string,
  endpoint: "client" | "server",
  identity: TlsIdentity,
): Promise<void> {
  await writeFile(join(directory, "ca-cert.pem"), authorityPem);
  await writeFile(join(directory, `${endpoint}-cert.pem`), identity.certificatePem);
  await writeFile(join(directory, `${endpoint}-key.pem`), identity.privateKeyPem);
}

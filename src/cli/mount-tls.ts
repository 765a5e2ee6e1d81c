import { hostname, networkInterfaces } from "node:os";
import { Fault } from "../base/fault.ts";
import type { Vault } from "../journal/vault.ts";
import type { NbdAddress } from "../nbd/address.ts";
import type { NbdServerTls } from "../nbd/server-tls.ts";
import { readAuthority } from "../tls/authority-store.ts";
import { admitReaders } from "../tls/readers.ts";
import { openVaultIdentity } from "../tls/vault-identity.ts";
import type { CommandContext } from "./command-context.ts";

const wildcards: readonly string[] = ["0.0.0.0", "::"];

/**
 * What an export to other hosts takes: a certificate of the vault that names this host, renewed as long as `signal` stands, and
 * readers with certificates of the vault alone.
 */
export async function exportTls(
  context: CommandContext,
  vault: Vault,
  options: {
    readonly listen: NbdAddress;
    readonly names: readonly string[];
    readonly signal: AbortSignal;
  },
): Promise<NbdServerTls> {
  const { files, clock, prng } = context;
  const { directory: vaultDirectory, description } = vault;
  if ((await readAuthority(files, vaultDirectory)) === null) {
    const message = `${vaultDirectory} has no certificates yet: make one for the host that reads with \`afterimage vault certificate NAME\``;
    throw new Fault("USAGE", message, { path: vaultDirectory });
  }
  const identity = await openVaultIdentity({
    files,
    vaultDirectory,
    vaultId: description.id,
    hosts: hostsOf(options),
    // The serving vault keeps its own: this process must not write beside it.
    storage: "memory",
    clock,
    prng,
  });
  identity.keepFresh({ signal: options.signal }).catch(() => {}); // It ends with the signal.
  return admitReaders({ files, vaultDirectory, identity, clock });
}

/** Where clients may reach us: they compare what they dial with what the certificate names. */
function hostsOf({
  listen,
  names,
}: {
  readonly listen: NbdAddress;
  readonly names: readonly string[];
}): readonly string[] {
  const own = "host" in listen && !wildcards.includes(listen.host) ? [listen.host] : [];
  const addresses = Object.values(networkInterfaces()).flatMap((found) =>
    (found ?? [])
      .filter(({ scopeid }) => scopeid === undefined || scopeid === 0)
      .map(({ address }) => address),
  );
  return [...new Set([...names, ...own, hostname(), "localhost", ...addresses])];
}

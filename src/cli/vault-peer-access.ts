import type { z } from "zod";
import { askWriter } from "../control/client.ts";
import { type PeerSurroundings, performPeerRequest } from "../control/peer-requests.ts";
import type { PeerRequest } from "../control/requests.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { openAuthority } from "../tls/authority-store.ts";
import { fingerprintOf } from "../tls/certificates.ts";
import { openEnrolmentStore } from "../tls/enrolment-store.ts";
import type { CommandContext } from "./command-context.ts";

/**
 * Does something about a vault's peers: through the process that serves the vault when there is one, else here, under the vault's
 * writer lock. VAULT_BUSY when another process writes that takes no requests.
 */
export async function askAboutPeers<Result>(
  context: CommandContext,
  directory: string,
  request: PeerRequest,
  result: z.ZodType<Result>,
): Promise<Result> {
  const { files, locks, clock, prng, signal } = context;
  const answer = await askWriter({ path: controlSocket(directory), request, signal });
  if (answer !== null) return result.parse(answer.result);
  await using vault = await openVault({ files, locks, clock, prng, directory, mode: "write" });
  const surroundings = await surroundingsOf(context, vault);
  return result.parse(await performPeerRequest(surroundings, request));
}

async function surroundingsOf(context: CommandContext, vault: Vault): Promise<PeerSurroundings> {
  const { files, clock, prng } = context;
  const { directory: vaultDirectory, description } = vault;
  const keeping = { files, vaultDirectory, vaultId: description.id, clock, prng };
  const authority = await openAuthority(keeping);
  const fingerprint = fingerprintOf(authority.certificatePem);
  const store = await openEnrolmentStore({ ...keeping, authority, fingerprint });
  const holders = new Map<string, string[]>();
  for (const name of await vault.groups()) {
    const holder = (await vault.reader(name)).generation()?.holder;
    if (holder !== undefined) holders.set(holder, [...(holders.get(holder) ?? []), name]);
  }
  return {
    store,
    fingerprint,
    addresses: [],
    groupsOf: (holder) => holders.get(holder) ?? [],
    channelsOf: () => null,
    cut: async () => null,
  };
}

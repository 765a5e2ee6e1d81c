import { z } from "zod";
import { Fault } from "../base/fault.ts";
import type { EnrolmentStore } from "../tls/enrolment-store.ts";
import { formatSiteAddress, type SiteAddress } from "../tls/identity.ts";
import { parseSiteAddress } from "../tls/token.ts";
import type { PeerRequest } from "./requests.ts";
import { type EnrolledPeer, enrolledPeerSchema } from "./vault-state.ts";

/** What `invite` answers. The token is secret: whoever has it may enrol in that name. */
export const invitationSchema = z.strictObject({
  name: z.string(),
  token: z.string(),
  addresses: z.array(z.string()),
  /** SHA-256 of the certificate of the vault's authority. */
  fingerprint: z.string(),
  expiresAtMs: z.int(),
});

/** What `revoke` answers. */
export const revocationSchema = z.strictObject({
  name: z.string(),
  /** Connections that were ended; null when no server runs. */
  channelsCut: z.int().nullable(),
});

/** What `peers` answers. */
export const peersSchema = z.strictObject({ peers: z.array(enrolledPeerSchema) });

/** What surrounds the enrolments of a vault. */
export interface PeerSurroundings {
  readonly store: EnrolmentStore;
  readonly fingerprint: string;
  /** Where replicators reach the vault; none when that is not known. */
  readonly addresses: readonly SiteAddress[];
  /** Groups whose current generation the replicator holds. */
  readonly groupsOf: (holderId: string) => readonly string[];
  /** Connections of a replicator; null when no server runs. */
  readonly channelsOf: (holderId: string) => number | null;
  /** Ends the connections of a replicator; null when no server runs. */
  readonly cut: (peer: { readonly name: string; readonly id: string }) => Promise<number | null>;
}

/** Does what a request about peers asks. The caller holds the vault's writer lock. USAGE, STORAGE_*. */
export async function performPeerRequest(
  surroundings: PeerSurroundings,
  request: PeerRequest,
): Promise<unknown> {
  switch (request.verb) {
    case "invite":
      return invite(surroundings, request);
    case "revoke":
      return revoke(surroundings, request.name);
    case "peers":
      return { peers: enrolledPeers(surroundings) } satisfies z.output<typeof peersSchema>;
  }
}

/** Everybody who is or was enrolled, in order of their names. */
export function enrolledPeers(surroundings: PeerSurroundings): EnrolledPeer[] {
  const { store, groupsOf, channelsOf } = surroundings;
  const peers = store.holders().map((holder) => ({
    ...holder,
    channels: channelsOf(holder.id),
    groups: [...groupsOf(holder.id)],
  }));
  return peers.sort((left, right) => (left.name < right.name ? -1 : 1));
}

async function invite(
  { store, fingerprint, addresses }: PeerSurroundings,
  request: Extract<PeerRequest, { verb: "invite" }>,
): Promise<z.output<typeof invitationSchema>> {
  const asked = request.addresses.map((text) => {
    const address = parseSiteAddress(text);
    if (address !== null) return address;
    throw new Fault("USAGE", `"${text}" is no address such as "vault.example:7420"`);
  });
  const named = asked.length > 0 ? asked : addresses;
  if (named.length === 0) {
    const message = "no server runs for this vault, so its address must be given: --address";
    throw new Fault("USAGE", `${message} HOST:PORT`);
  }
  const { name, expiresSeconds, replaces } = request;
  const wish = { name, addresses: named, expiresMs: expiresSeconds * 1000, replaces };
  const { token, expiresAtMs } = await store.invite(wish);
  return { name, token, addresses: named.map(formatSiteAddress), fingerprint, expiresAtMs };
}

async function revoke(
  { store, cut }: PeerSurroundings,
  name: string,
): Promise<z.output<typeof revocationSchema>> {
  const held = store.holders().find((holder) => holder.name === name);
  if (!(await store.revoke(name))) {
    throw new Fault("USAGE", `no replicator ${name} is enrolled or invited`, { name });
  }
  // First it is believed no more, durably, and then it is cut off: it cannot come back in between.
  const channelsCut = await cut({ name, id: held?.id ?? "" });
  return { name, channelsCut };
}

import { networkInterfaces } from "node:os";
import type { VaultConfig } from "../cli/vault-config-schema.ts";
import type { PeerSurroundings } from "../control/peer-requests.ts";
import type { Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { EnrolmentStore } from "../tls/enrolment-store.ts";
import type { SiteAddress } from "../tls/identity.ts";
import type { TlsListener } from "../tls/listen.ts";
import type { LinkReceiver } from "../transport/receiver.ts";
import type { GroupSurroundings } from "./vault-group.ts";
import type { VaultGroups } from "./vault-groups.ts";

/** Addresses of one host that an invitation names unless it is configured. */
const ownAddressesMax = 4;

/** Where replicators reach the vault: as configured, else where it listens, else every address of this host. */
export function reachedAt(
  { listen, advertise }: VaultConfig,
  port: number,
): readonly SiteAddress[] {
  if (advertise.length > 0) return advertise;
  if (listen.host !== "0.0.0.0" && listen.host !== "::") return [{ host: listen.host, port }];
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    // Link-local addresses need a zone, which another host does not have.
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80"))
    .filter(({ family }) => listen.host === "::" || family === "IPv4")
    .map(({ address }) => ({ host: address, port }));
  return own.length > 0 ? own.slice(0, ownAddressesMax) : [{ host: "127.0.0.1", port }];
}

/** What of a serving vault is about its peers. */
export interface VaultPeersOptions {
  readonly config: VaultConfig;
  readonly store: EnrolmentStore;
  readonly fingerprint: string;
  readonly listener: Pick<TlsListener, "address" | "cut">;
  readonly receiver: Pick<LinkReceiver, "sessions" | "disconnect">;
  readonly groups: VaultGroups;
}

/** Who is connected to a serving vault, and who may be. */
export class VaultPeers {
  readonly #options: VaultPeersOptions;

  constructor(options: VaultPeersOptions) {
    this.#options = options;
  }

  /** For requests about peers. */
  get surroundings(): PeerSurroundings {
    const { config, store, fingerprint, listener, receiver, groups } = this.#options;
    return {
      store,
      fingerprint,
      addresses: reachedAt(config, listener.address.port),
      groupsOf: (holder) =>
        groups
          .all()
          .flatMap(({ name, journal }) => (journal.generation?.holder === holder ? [name] : [])),
      channelsOf: (id) =>
        receiver
          .sessions()
          .filter(({ peer }) => peer.id === id)
          .reduce((sum, { channels }) => sum + channels, 0),
      cut: async ({ name, id }) => {
        const count = listener.cut(name);
        await receiver.disconnect(id);
        return count;
      },
    };
  }

  /** What is known of a group beside its journal. */
  around(group: GroupName): GroupSurroundings {
    return { peer: this.#peerOf(group), nameOf: (holder) => this.#nameOf(holder) };
  }

  /** Who has a connection open for the group: of several its holder. */
  #peerOf(group: GroupName): Peer | null {
    const { receiver, groups } = this.#options;
    const sessions = receiver.sessions().filter((session) => session.channels > 0);
    const peers = sessions
      .filter((session) => session.groups.includes(group))
      .map(({ peer }) => peer);
    const open = groups.all().find(({ name }) => name === group);
    const holder = open?.journal.generation?.holder;
    return peers.find(({ id }) => id === holder) ?? peers[0] ?? null;
  }

  #nameOf(holder: string): string | null {
    return this.#options.store.holders().find(({ id }) => id === holder)?.name ?? null;
  }
}

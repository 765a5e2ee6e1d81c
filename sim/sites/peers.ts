import type { Peer } from "../../src/core/channel.ts";

/** The replicator that the group belongs to. */
export const replicatorPeer: Peer = {
  name: "protected",
  role: "replicator",
  id: "0123456789abcdef",
  address: "198.51.100.1:40000",
};
/** Another, enrolled at the same vault. */
export const rivalPeer: Peer = {
  name: "other",
  role: "replicator",
  id: "00000000000000aa",
  address: "203.0.113.1:40000",
};
export const vaultPeer: Peer = {
  name: "recovery",
  role: "vault",
  id: "fedcba9876543210",
  address: "192.0.2.1:7443",
};

import type { FaultEntry } from "./fault-entry.ts";

/** Faults between two sites. */
export const sitesFaults = {
  LINK_LOST: {
    retry: true,
    exitCode: 2,
    cause: "The connection to the other site ended, or could not be made.",
    nextStep:
      "Check the network and that the vault runs; points go on being cut into the spool meanwhile.",
  },
  LINK_STALLED: {
    retry: true,
    exitCode: 2,
    cause: "The other site took nothing for too long although the connection stands.",
    nextStep: "Check the link's load and the vault's disks; points are diverted through the spool.",
  },
  LINK_RESET: {
    retry: true,
    exitCode: 2,
    cause: "The other site started anew and does not know what was under way.",
    nextStep:
      "Nothing to do: the vault is asked for its head and the work begins again from there.",
  },
  LINK_PROTOCOL: {
    retry: true,
    exitCode: 2,
    cause: "The peer of the link said something that the protocol does not allow.",
    nextStep: "Check that both sites run adjacent versions and that nothing alters the stream.",
  },
  LINK_VERSION: {
    retry: false,
    exitCode: 2,
    cause: "The two sites have no version of the protocol in common.",
    nextStep: "Upgrade the older site; adjacent versions understand each other.",
  },
  PEER_REFUSED: {
    retry: false,
    exitCode: 2,
    cause: "The peer could not prove who it is, or refused to believe who we are.",
    nextStep:
      "Read the other site's log, which names the reason; then enrol again with `afterimage vault invite`.",
  },
  TOKEN_INVALID: {
    retry: false,
    exitCode: 2,
    cause: "The invitation is damaged, used, expired or another vault's.",
    nextStep: "Make a new one with `afterimage vault invite NAME` and use it within its time.",
  },
  NOT_ENROLLED: {
    retry: false,
    exitCode: 2,
    cause: "This replicator has no identity for that vault, or its certificate has expired.",
    nextStep:
      "Run `afterimage vault invite NAME` at the vault and `afterimage replicator join TOKEN` here.",
  },
  GENERATION_STALE: {
    retry: false,
    exitCode: 2,
    cause: "The group was taken over: another holds a later generation of it.",
    nextStep:
      "Stop these machines if the others run; to turn back run `afterimage vault raise` and restart this replicator.",
  },
  GENERATION_CONFLICT: {
    retry: false,
    exitCode: 2,
    cause: "Another replicator holds this generation of the group.",
    nextStep:
      "Stop one of the two, or hand the group over with `afterimage vault raise`; nothing was written.",
  },
  CLOCK_SKEW: {
    retry: true,
    exitCode: 2,
    cause: "The clocks of the two sites differ by more than the configured bound.",
    nextStep:
      "Make both sites follow the same time servers; order never depends on clocks, RPO does.",
  },
  SOURCE_SILENT: {
    retry: true,
    exitCode: 1,
    cause: "The vault has heard nothing of a group's source for too long.",
    nextStep:
      "Check that the replicator runs and reaches this vault; if its site is lost, start from the newest point.",
  },
  TARGET_MISSED: {
    retry: true,
    exitCode: 1,
    cause: "The newest point at the vault is older than the target allows.",
    nextStep:
      "See in `afterimage status` whether source, link or vault is behind; no interval may hold this target.",
  },
  LINK_TOO_SLOW: {
    retry: true,
    exitCode: 1,
    cause: "The link carries less, or answers later, than the target needs.",
    nextStep: "Raise the caps of `link`, compress, or choose a longer target.",
  },
  SPOOL_FULL: {
    retry: true,
    exitCode: 2,
    cause: "The spool reached its cap or the reserve of free space; no points are cut meanwhile.",
    nextStep:
      "Nothing is lost and the guest feels nothing: repair the link, or raise `spool.capBytes`.",
  },
  SPOOL_CORRUPT: {
    retry: true,
    exitCode: 2,
    cause: "A point in the spool does not read back as it was cut.",
    nextStep:
      "Nothing to do: the next point carries everything since the vault's head; check that disk.",
  },
  STATE_BUSY: {
    retry: true,
    exitCode: 2,
    cause: "Another process uses this replicator's state.",
    nextStep: "Stop that process; one replicator runs for each state directory.",
  },
} as const satisfies Record<string, FaultEntry>;

import { dirname } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import type { DieOrder } from "../test/two-sites/die-at.ts";
import type { LyingClock } from "../test/two-sites/lying-clock.ts";
import type { Site } from "../test/two-sites/namespaces.ts";
import type { SiteProcess } from "../test/two-sites/site-process.ts";
import { ballast } from "../test/two-sites/small-rooms.ts";
import type { Trial } from "../test/two-sites/trial.ts";

const clock = systemClock();
/** An order to die that is not carried out within this is made good by a plain kill. */
const deathTimeoutMs = 10_000;
const clockJumpSeconds = 3600;

/** Something that goes wrong for a while. */
export interface SoakFault {
  readonly name: string;
  /** Two faults of one kind do not come together. */
  readonly kind: "link" | "vault" | "replicator" | "room" | "clock";
  /** What has to be there for it. */
  readonly needs?: "namespaces" | "rooms" | "clocks";
  /** Resolves when it has happened; what it resolves to ends it. */
  begin(trial: Trial, clocks: Record<Site, LyingClock> | null): Promise<() => Promise<void>>;
}

const restoreLink = (trial: Trial) => () => trial.sites.network.restore();

const links: readonly SoakFault[] = [
  {
    name: "link cut",
    kind: "link",
    needs: "namespaces",
    begin: async (trial) => {
      await trial.sites.network.cut();
      return restoreLink(trial);
    },
  },
  ...(["vault", "replicator"] as const).map(
    (site): SoakFault => ({
      name: `nothing arrives at the ${site}`,
      kind: "link",
      needs: "namespaces",
      begin: async (trial) => {
        await trial.sites.network.dropTowards(site);
        return restoreLink(trial);
      },
    }),
  ),
];

const vaults: readonly SoakFault[] = [
  {
    name: "vault killed",
    kind: "vault",
    begin: async ({ sites }) => {
      await sites.vault.kill();
      return async () => void (await sites.startVault());
    },
  },
  {
    name: "vault killed in a seal",
    kind: "vault",
    begin: async ({ sites, prng }) => {
      const matches = ["/incoming/", "/ledger$", "/deltas"];
      const match = matches[prng.below(matches.length)]!;
      await dies(sites.vault, {
        call: callOf(prng.below(4)),
        match,
        nth: 1,
        when: whenOf(prng.below(2)),
      });
      return async () => void (await sites.startVault());
    },
  },
  {
    name: "vault stopped cleanly",
    kind: "vault",
    begin: async ({ sites }) => {
      await sites.vault.stop();
      return async () => void (await sites.startVault());
    },
  },
  {
    name: "vault frozen",
    kind: "vault",
    begin: async ({ sites }) => {
      const { child } = sites.vault;
      child.kill("SIGSTOP");
      return async () => void child.kill("SIGCONT");
    },
  },
];

const replicators: readonly SoakFault[] = [
  {
    name: "replicator killed",
    kind: "replicator",
    begin: async ({ sites }) => {
      await sites.replicator.kill();
      return async () => void (await sites.startReplicator());
    },
  },
  {
    name: "replicator killed in a cycle",
    kind: "replicator",
    begin: async ({ sites, prng }) => {
      const commands = ["transaction", "block-export-add", "block-export-del", "bitmap-remove"];
      const match = commands[prng.below(commands.length)]!;
      await dies(sites.replicator, { call: "qmp", match, nth: 1, when: whenOf(prng.below(2)) });
      return async () => void (await sites.startReplicator());
    },
  },
  {
    name: "replicator killed at its spool",
    kind: "replicator",
    begin: async ({ sites, prng }) => {
      const order = { call: callOf(prng.below(4)), match: "/spool/", nth: 1 + prng.below(3) };
      await dies(sites.replicator, { ...order, when: whenOf(prng.below(2)) });
      return async () => void (await sites.startReplicator());
    },
  },
  {
    name: "replicator killed while it speaks",
    kind: "replicator",
    begin: async ({ sites, prng }) => {
      const order = { call: "tls", match: "", nth: 1 + prng.below(20), when: "after" } as const;
      await dies(sites.replicator, order);
      return async () => void (await sites.startReplicator());
    },
  },
  {
    name: "replicator stopped cleanly",
    kind: "replicator",
    begin: async ({ sites }) => {
      await sites.replicator.stop();
      return async () => void (await sites.startReplicator());
    },
  },
];

const rooms: readonly SoakFault[] = [
  {
    name: "vault disk full",
    kind: "room",
    needs: "rooms",
    begin: async ({ sites }) => {
      const held = await ballast(dirname(sites.vaultDirectory));
      return async () => await held[Symbol.asyncDispose]();
    },
  },
  {
    name: "spool disk full",
    kind: "room",
    needs: "rooms",
    begin: async ({ sites }) => {
      const held = await ballast(sites.spoolDirectory);
      return async () => await held[Symbol.asyncDispose]();
    },
  },
];

const jumps: readonly SoakFault[] = (["vault", "replicator"] as const).flatMap((site) =>
  [clockJumpSeconds, -clockJumpSeconds].map(
    (seconds): SoakFault => ({
      name: `clock of the ${site} ${seconds / 3600} h off`,
      kind: "clock",
      needs: "clocks",
      begin: async (_trial, clocks) => {
        await clocks?.[site].jumpTo(seconds);
        return async () => clocks?.[site].jumpTo(0);
      },
    }),
  ),
);

/** Everything that may go wrong in a soak. */
export const soakFaults: readonly SoakFault[] = [
  ...links,
  ...vaults,
  ...replicators,
  ...rooms,
  ...jumps,
];

async function dies(running: SiteProcess, order: DieOrder): Promise<void> {
  await running.dieAt(order);
  const inTime = new AbortController();
  const late = clock.sleep(deathTimeoutMs, { signal: inTime.signal }).then(
    () => running.kill(),
    () => {}, // It was in time.
  );
  await running.ended;
  inTime.abort();
  await late;
}

function callOf(number: number): DieOrder["call"] {
  return (["write", "datasync", "rename", "sync"] as const)[number] ?? "write";
}

function whenOf(number: number): DieOrder["when"] {
  return number === 0 ? "before" : "after";
}

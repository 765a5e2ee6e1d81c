import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
const vaultAddress = "10.231.7.1";
const replicatorAddress = "10.231.7.2";

/**
 * Two sites' network. With network namespaces: one for each site, joined by one cable. Where the host does not allow them
 * (no root, no CAP_NET_ADMIN): the loopback, and what needs a cable is skipped.
 */
export interface SitesNetwork extends AsyncDisposable {
  readonly kind: "namespaces" | "loopback";
  /** Where the vault listens. */
  readonly vaultAddress: string;
  /** Words before a command that run it at a site. */
  at(site: Site): readonly string[];
  /** The cable is pulled: packets go nowhere, nobody is told. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  /** Packets of one direction vanish: connections stand and carry nothing. Until `restore`. */
  dropTowards(site: Site): Promise<void>;
  /** Bytes the replicator's end has received and sent so far. */
  carriedBytes(): Promise<{ readonly sent: number; readonly received: number }>;
}

/** An end of the cable. */
export type Site = "vault" | "replicator";

let count = 0;

/** Lays the network; says on stderr when it has to be the loopback. */
export async function sitesNetwork(): Promise<SitesNetwork> {
  count += 1;
  const name = `afterimage-${process.pid}-${count}`;
  const spaces: Record<Site, string> = { vault: `${name}-v`, replicator: `${name}-r` };
  await using opening = new AsyncDisposableStack();
  try {
    for (const site of ["vault", "replicator"] as const) {
      await run("ip", ["netns", "add", spaces[site]]);
      // Interfaces go with their namespace.
      opening.defer(() => run("ip", ["netns", "del", spaces[site]]).then(() => {}));
    }
    const ends = ["netns", spaces.vault, "type", "veth", "peer", "name", "cable", "netns"];
    await run("ip", ["link", "add", "name", "cable", ...ends, spaces.replicator]);
    await configure(spaces.vault, vaultAddress);
    await configure(spaces.replicator, replicatorAddress);
  } catch (error) {
    console.error(`no network namespaces, so the loopback: ${firstLine(error)}`);
    return loopback();
  }
  return namespaces(spaces, opening.move());
}

async function configure(space: string, address: string): Promise<void> {
  await run("ip", ["-n", space, "address", "add", `${address}/30`, "dev", "cable"]);
  await run("ip", ["-n", space, "link", "set", "lo", "up"]);
  await run("ip", ["-n", space, "link", "set", "cable", "up"]);
}

function namespaces(spaces: Record<Site, string>, owned: AsyncDisposableStack): SitesNetwork {
  const dropping = new Set<Site>();
  const filter = (site: Site, verb: "-A" | "-D") =>
    run("ip", ["netns", "exec", spaces[site], ...dropRule(verb)]);
  return {
    kind: "namespaces",
    vaultAddress,
    at: (site) => ["ip", "netns", "exec", spaces[site]],
    cut: async () => {
      // At the replicator's end: an address goes with its own interface, and the vault listens on one.
      await run("ip", ["-n", spaces.replicator, "link", "set", "cable", "down"]);
    },
    restore: async () => {
      await run("ip", ["-n", spaces.replicator, "link", "set", "cable", "up"]);
      for (const site of dropping) await filter(site, "-D");
      dropping.clear();
    },
    dropTowards: async (site) => {
      await filter(site, "-A");
      dropping.add(site);
    },
    carriedBytes: async () => {
      const words = ["-n", spaces.replicator, "-s", "-j", "link", "show", "dev", "cable"];
      const { stdout } = await run("ip", words);
      const [link] = JSON.parse(stdout) as [LinkStatistics];
      return { sent: link.stats64.tx.bytes, received: link.stats64.rx.bytes };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface LinkStatistics {
  readonly stats64: { readonly tx: { bytes: number }; readonly rx: { bytes: number } };
}

/** iptables waits for its lock (-w): several test files may run at once. */
function dropRule(verb: "-A" | "-D"): readonly string[] {
  return ["iptables", "-w", verb, "INPUT", "-i", "cable", "-j", "DROP"];
}

function loopback(): SitesNetwork {
  const impossible = async () => {
    throw new Error("the loopback has no cable: skip this without namespaces");
  };
  return {
    kind: "loopback",
    vaultAddress: "127.0.0.1",
    at: () => [],
    cut: impossible,
    restore: async () => {},
    dropTowards: impossible,
    carriedBytes: impossible,
    [Symbol.asyncDispose]: async () => {},
  };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split("\n").at(-1) ?? "";
}

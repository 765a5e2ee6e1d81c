import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { stringify } from "yaml";
import { systemClock } from "../../src/base/clock.ts";
import { nodeFileSystem } from "../../src/base/node-file-system.ts";
import { systemPrng } from "../../src/base/prng.ts";
import { MIB } from "../../src/base/units.ts";
import type { Point } from "../../src/core/point.ts";
import type { GroupReader } from "../../src/journal/group.ts";
import { sqliteLocks } from "../../src/journal/sqlite-locks.ts";
import { openVault } from "../../src/journal/vault.ts";
import {
  type Guest,
  type GuestDisk,
  type TestHost,
  testGroup,
  testHost,
} from "../../src/source/qemu/test-guest.ts";
import { type Site, type SitesNetwork, sitesNetwork } from "./namespaces.ts";
import { SiteProcess } from "./site-process.ts";

const run = promisify(execFile);
const program = fileURLToPath(new URL("../../bin/afterimage", import.meta.url));
const vaultPort = 7420;

/** What a test of two sites is made of. */
export interface SitesOptions {
  readonly disks: readonly GuestDisk[];
  /** Default: a point every second. */
  readonly interval?: { readonly intervalSeconds: number } | { readonly targetRpoSeconds: number };
  /** Default: 64 MiB of scratch and 256 MiB of spool. */
  readonly capBytes?: { readonly scratch: number; readonly spool: number };
  /** Further keys of the replicator's configuration. */
  readonly replicator?: Readonly<Record<string, unknown>>;
  /** Keys of the vault's configuration. */
  readonly vault?: Readonly<Record<string, unknown>>;
  /** Makes places for vault and spool before they are used, file systems of their own for instance. */
  readonly mountRooms?: (paths: {
    readonly vault: string;
    readonly spool: string;
  }) => Promise<void>;
  readonly network?: SitesNetwork;
}

type Environment = Readonly<Record<string, string>>;

/** Two sites on this host: a guest and a replicator here, a vault there, and a network between them. */
export class Sites implements AsyncDisposable {
  readonly host: TestHost;
  readonly guest: Guest;
  readonly network: SitesNetwork;
  readonly directory: string;
  readonly vaultDirectory: string;
  readonly stateDirectory: string;
  readonly spoolDirectory: string;
  /** Where the vault listens. */
  readonly port: number;
  readonly vaultConfigPath: string;
  readonly replicatorConfigPath: string;
  /** For every process that is started from now on; what a start is given comes over it. */
  environment: Record<Site, Environment> = { vault: {}, replicator: {} };
  /** Every replicator that was started, the newest last. */
  readonly replicators: SiteProcess[] = [];
  #vault: SiteProcess | null = null;
  readonly #owned: AsyncDisposableStack;

  /** Use `sites`. */
  constructor(parts: {
    host: TestHost;
    guest: Guest;
    network: SitesNetwork;
    vaultDirectory: string;
    port: number;
    owned: AsyncDisposableStack;
  }) {
    this.host = parts.host;
    this.guest = parts.guest;
    this.network = parts.network;
    this.#owned = parts.owned;
    this.directory = parts.host.directory;
    this.vaultDirectory = parts.vaultDirectory;
    this.port = parts.port;
    this.stateDirectory = join(this.directory, "state");
    this.spoolDirectory = join(this.directory, "spool");
    this.vaultConfigPath = join(this.directory, "vault.yaml");
    this.replicatorConfigPath = join(this.directory, "replicator.yaml");
  }

  /** The vault's running process. */
  get vault(): SiteProcess {
    if (this.#vault === null) throw new Error("the vault does not run");
    return this.#vault;
  }

  /** The replicator's running process. */
  get replicator(): SiteProcess {
    const newest = this.replicators.at(-1);
    if (newest === undefined) throw new Error("the replicator was not started");
    return newest;
  }

  /** Starts `afterimage vault serve`; resolves when it listens. */
  async startVault(environment: Environment = {}): Promise<SiteProcess> {
    const words = ["vault", "serve", this.vaultDirectory, "--config", this.vaultConfigPath];
    this.#vault = this.#start("vault", words, environment);
    await this.#vault.seen(({ msg }) => msg === "Serving the vault.");
    return this.#vault;
  }

  /** Starts `afterimage replicator serve`. */
  async startReplicator(environment: Environment = {}): Promise<SiteProcess> {
    const words = ["replicator", "serve", this.replicatorConfigPath];
    const started = this.#start("replicator", words, environment);
    this.replicators.push(started);
    return started;
  }

  /** Runs a command of the product at a site to its end; its standard output. */
  async command(site: Site, ...words: readonly string[]): Promise<string> {
    return await this.#run(site, words, {});
  }

  async #run(site: Site, words: readonly string[], environment: Environment): Promise<string> {
    const [file, ...rest] = [...this.network.at(site), program, ...words];
    const { stdout } = await run(file!, rest, { env: { ...process.env, ...environment } });
    return stdout;
  }

  /** Invites and joins a replicator whose state lies in `state`. */
  async enrol(
    name: string,
    options: { readonly state?: string; readonly environment?: Environment } = {},
  ): Promise<void> {
    const { state = this.stateDirectory, environment = {} } = options;
    const at = ["--vault", this.vaultDirectory, "--json"];
    const said = await this.command("vault", "vault", "invite", name, ...at);
    const { token } = JSON.parse(said) as { readonly token: string };
    await this.#run("replicator", ["replicator", "join", token, "--state", state], environment);
  }

  /** Looks at the vault's directory as any reader may. */
  async read<Result>(look: (reader: GroupReader) => Promise<Result>): Promise<Result> {
    const options = { files: nodeFileSystem(), clock: systemClock(), prng: systemPrng() };
    const directory = this.vaultDirectory;
    await using vault = await openVault({
      ...options,
      directory,
      mode: "read",
      locks: sqliteLocks(),
    });
    return await look(await vault.reader(testGroup));
  }

  /** The vault's points, oldest first; none before there is a group. */
  async points(): Promise<readonly Point[]> {
    try {
      return await this.read(async (reader) => reader.points());
    } catch {
      return [];
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const replicator of this.replicators) await replicator.kill();
    await this.#vault?.kill();
    await this.#owned.disposeAsync();
  }

  #start(site: Site, words: readonly string[], environment: Environment) {
    return new SiteProcess({
      at: this.network.at(site),
      words: [...words, "--log", "json"],
      environment: { ...this.environment[site], ...environment },
      orderPath: join(this.directory, `${site}.order`),
    });
  }
}

/** Makes network, guest, vault and configurations; nothing of ours runs yet and nobody is enrolled. */
export async function sites(options: SitesOptions): Promise<Sites> {
  await using opening = new AsyncDisposableStack();
  const network = options.network ?? opening.use(await sitesNetwork());
  const host = opening.use(await testHost());
  await host.createImages("db", options.disks);
  const guest = await host.start("db", options.disks);
  const vaultDirectory = join(host.directory, "room", "vault");
  const port = network.kind === "loopback" ? await freePort() : vaultPort;
  const made = new Sites({ host, guest, network, vaultDirectory, port, owned: opening.move() });
  await using making = new AsyncDisposableStack();
  making.use(made);
  await mkdir(made.spoolDirectory);
  await mkdir(dirname(vaultDirectory));
  await options.mountRooms?.({ vault: dirname(vaultDirectory), spool: made.spoolDirectory });
  const listen = `${network.vaultAddress}:${port}`;
  await writeFile(made.vaultConfigPath, stringify({ listen, ...options.vault }));
  const machine = {
    name: "db",
    qmp: guest.qmpPath,
    disks: options.disks.map(({ name }) => ({ name, node: name })),
  };
  const cap = options.capBytes ?? { scratch: 64 * MIB, spool: 256 * MIB };
  const config = {
    state: made.stateDirectory,
    ...(options.interval ?? { intervalSeconds: 1 }),
    scratch: { directory: host.scratchDirectory, capBytes: cap.scratch },
    spool: { directory: made.spoolDirectory, capBytes: cap.spool, reserveBytes: 0 },
    groups: [{ name: testGroup, machines: [machine] }],
    ...options.replicator,
  };
  await writeFile(made.replicatorConfigPath, stringify(config));
  await made.command("vault", "vault", "init", vaultDirectory);
  making.move();
  return made;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { systemPrng } from "../base/prng.ts";
import { startCommand, type TestCommand } from "../cli/command-for-test.ts";
import type { GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import { joinVault } from "../tls/join.ts";
import { openReplicatorIdentity, type ReplicatorIdentity } from "../tls/replicator-identity.ts";
import type { Link } from "../transport/link.ts";
import { openLink } from "../transport/open-link.ts";
import { serveVault } from "./vault-serve.ts";

/** Waiting that has nothing to do with what is tested. */
const patienceMs = 20_000;

/** A vault that serves in this process, as its command line started it, on a port of its own. */
export interface TestVaultSite extends AsyncDisposable {
  readonly directory: string;
  /** What it logged so far, a JSON object a line. */
  log(): readonly Record<string, unknown>[];
  /** Runs another command line and returns its one line of JSON. */
  ask(...words: readonly string[]): Promise<Record<string, unknown>>;
  /** Enrols and connects a replicator. */
  replicator(name: string): Promise<TestReplicator>;
  /** Ends the server as SIGTERM does, and starts it anew on the same port. */
  restart(): Promise<void>;
}

/** A replicator of that vault. */
export interface TestReplicator {
  readonly identity: ReplicatorIdentity;
  readonly link: Link;
  intake(group: GroupName): JournalIntake;
}

/** Makes a vault and serves it. */
export async function testVaultSite(config = ""): Promise<TestVaultSite> {
  await using opened = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), "afterimage-site-"));
  opened.defer(() => rm(root, { recursive: true, force: true }));
  const directory = join(root, "vault");
  const files = nodeFileSystem();
  const [clock, prng] = [systemClock(), systemPrng()];
  await run("vault", "init", directory);
  const configPath = join(root, "vault.yaml");
  {
    await using file = await files.open(configPath, "create");
    await file.write(Buffer.from(config), 0);
  }
  let serving = await serve(directory, configPath, "127.0.0.1:0");
  const closing = opened.move();
  const stop = async () => {
    serving.command.interrupt();
    await serving.command.exitCode;
  };
  const ask = async (...words: readonly string[]) => {
    const [first = "", second = "", ...rest] = words;
    return run(first, second, ...rest, "--vault", directory);
  };
  return {
    directory,
    log: () => linesOf(serving.command),
    ask,
    restart: async () => {
      await stop();
      serving = await serve(directory, configPath, serving.listen);
    },
    replicator: async (name) => {
      const { token } = await ask("vault", "invite", name);
      const place = join(root, name);
      const signal = AbortSignal.timeout(patienceMs);
      await joinVault({ token: String(token), directory: place, files, clock, prng, signal });
      const identity = await openReplicatorIdentity({ files, directory: place, clock });
      const link = closing.use(openLink({ dial: identity.dial, clock, prng }));
      await link.whenUp({ signal });
      return { identity, link, intake: (group) => link.intake(group) };
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      await closing.disposeAsync();
    },
  };
}

async function serve(directory: string, configPath: string, address: string) {
  const words = ["vault", "serve", directory, "--config", configPath, "--listen", address];
  const command = startCommand([...words, "--log", "json"], {
    serveVault,
    context: { prng: systemPrng() },
  });
  const started = () => linesOf(command).find(({ msg }) => msg === "Serving the vault.");
  const ended = command.exitCode.then((code) => {
    throw new Error(`serving ended with ${code}: ${command.stderr()}`);
  });
  ended.catch(() => {}); // Only as long as it is waited for.
  const begun = expect.poll(started, { timeout: patienceMs }).toBeDefined();
  await Promise.race([begun, ended]);
  return { command, listen: String(started()?.listen) };
}

function linesOf(command: TestCommand): readonly Record<string, unknown>[] {
  const lines = command.stderr().split("\n");
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

async function run(...words: readonly string[]): Promise<Record<string, unknown>> {
  const running = startCommand([...words, "--json"], { context: { prng: systemPrng() } });
  await running.exitCode;
  return JSON.parse(running.stdout().trimEnd().split("\n").at(-1) ?? "null");
}

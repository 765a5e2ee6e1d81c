import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { isFault } from "../base/fault.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { seededPrng, systemPrng } from "../base/prng.ts";
import { MIB } from "../base/units.ts";
import { command, commandJson } from "../cli/command-for-test.ts";
import type { PointId } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import { TestHistory, testGroup } from "../journal/history-for-test.ts";
import { sqliteLocks } from "../journal/sqlite-locks.ts";
import { openVault } from "../journal/vault.ts";
import { joinVault } from "../tls/join.ts";
import { openReplicatorIdentity } from "../tls/replicator-identity.ts";
import { openLink } from "../transport/open-link.ts";

// A vault process that is killed again and again while a replicator ships to it.

const kills = 6;
const delayMsMax = 150;
const files = nodeFileSystem();
const clock = systemClock();
const main = join(import.meta.dirname, "main.ts");
let root: string;
let directory: string;
let serving: ChildProcess | null = null;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "afterimage-killed-"));
  directory = join(root, "vault");
});
afterEach(async () => {
  if (serving !== null) await kill(serving);
  await rm(root, { recursive: true, force: true });
});

/** Starts the vault's process; resolves with where it listens. */
async function serve(listen: string): Promise<{ process: ChildProcess; listen: string }> {
  const words = [main, "vault", "serve", directory, "--listen", listen, "--log", "json"];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "ignore", "pipe"] });
  serving = child;
  const lines = createInterface({ input: child.stderr });
  for await (const line of lines) {
    const told = line.startsWith("{") ? JSON.parse(line) : {};
    if (told.msg === "Serving the vault.") {
      child.stderr.resume();
      return { process: child, listen: told.listen };
    }
  }
  throw new Error(`the vault's process ended with ${child.exitCode}`);
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** A replicator and what it was told is durable. */
class Shipper {
  readonly history: TestHistory;
  readonly acknowledged: PointId[] = [];
  readonly #intake: JournalIntake;
  readonly #holder: string;
  #pending: PointId | null = null;

  constructor(intake: JournalIntake, holder: string, seed: number) {
    this.#intake = intake;
    this.#holder = holder;
    this.history = new TestHistory(seed);
    this.history.addDisk("db/data", 4 * MIB);
  }

  async sealOne(): Promise<void> {
    this.history.scribble(6);
    const generation = { number: 1, holder: this.#holder };
    const header = { ...this.history.header(this.#intake), generation };
    this.#pending = header.id;
    this.acknowledged.push((await this.history.seal(this.#intake, header)).id);
  }

  /** Goes on until the link fails. */
  async sealOnAndOn(): Promise<void> {
    for (;;) {
      const failed = await this.sealOne().then(
        () => null,
        (error: unknown) => error,
      );
      if (failed === null) continue;
      expect(failed).toMatchObject({ code: expect.stringMatching(/^LINK_/) });
      return;
    }
  }

  /** The answer may have been lost and the point not: then it is the head, and counts. */
  async attach(): Promise<void> {
    for (;;) {
      const standing = await this.#intake.ask().catch((error: unknown) => {
        if (!isFault(error, "LINK_LOST", "LINK_RESET", "LINK_STALLED")) throw error;
        return null;
      });
      if (standing === null) {
        await clock.sleep(20);
        continue;
      }
      const head = standing.head?.id ?? null;
      if (head === null || head === this.acknowledged.at(-1)) return;
      expect(head).toBe(this.#pending);
      this.history.acknowledge(head);
      this.acknowledged.push(head);
      return;
    }
  }
}

test("a vault that is killed at any moment keeps every point that it acknowledged", async () => {
  const seed = Number(process.env.AFTERIMAGE_SEED ?? Date.now() % 1_000_000);
  const prng = seededPrng(seed);
  await command("vault", "init", directory);
  let vault = await serve("127.0.0.1:0");
  const words = ["vault", "invite", "protected", "--vault", directory];
  const { token } = (await commandJson(...words)) as { token: string };
  const place = join(root, "replicator");
  const { signal } = new AbortController();
  const joining = { directory: place, files, clock, prng: systemPrng(), signal };
  await joinVault({ token, ...joining });
  const identity = await openReplicatorIdentity({ files, directory: place, clock });
  await using link = openLink({ dial: identity.dial, clock, prng: systemPrng() });
  await link.whenUp({ signal });
  const shipper = new Shipper(link.intake(testGroup), identity.id, seed);
  await shipper.attach();
  await shipper.sealOne();
  for (let count = 0; count < kills; count += 1) {
    const killed = clock.sleep(prng.below(delayMsMax)).then(() => kill(vault.process));
    await shipper.sealOnAndOn();
    await killed;
    vault = await serve(vault.listen);
    await shipper.attach();
  }
  await shipper.sealOne();
  await link[Symbol.asyncDispose]();
  await kill(vault.process);
  await using reopened = await openVault({
    ...{ files, directory, clock, prng, locks: sqliteLocks(), mode: "write" },
  });
  await using journal = await reopened.journal(testGroup);
  const found = journal.points().map(({ id }) => id);
  expect(found, `seed ${seed}`).toEqual(shipper.acknowledged);
  await shipper.history.check(journal);
}, 180_000);

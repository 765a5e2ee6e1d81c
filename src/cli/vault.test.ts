import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { nodeVault, type TestVault } from "../journal/vault-for-test.ts";
import { decodeToken } from "../tls/token.ts";
import { command, commandJson, startCommand } from "./command-for-test.ts";
import type { VaultServeRequest } from "./vault-serve.ts";

// Verbs about who may ship to a vault, with nobody serving it; with a server see daemon/vault-serve.test.ts.

let vault: TestVault;
const address = ["--address", "vault.example:7420"];

beforeEach(async () => {
  vault = await nodeVault();
  const journal = await vault.reopen();
  const history = new TestHistory(3);
  history.addDisk("db/data", MIB);
  await history.seal(journal);
  await vault.close();
});
afterEach(() => vault[Symbol.asyncDispose]());

const about = (verb: string, ...words: readonly string[]) =>
  command("vault", verb, ...words, "--vault", vault.directory);
const aboutJson = (verb: string, ...words: readonly string[]) =>
  commandJson("vault", verb, ...words, "--vault", vault.directory);

describe("an invitation", () => {
  test("is a token with the vault's address and authority, good for an hour", async () => {
    const made = (await aboutJson("invite", "protected", ...address)) as Record<string, unknown>;
    const { addresses, fingerprint } = decodeToken(String(made.token));
    expect(addresses).toEqual([{ host: "vault.example", port: 7420 }]);
    expect(made).toMatchObject({ name: "protected", fingerprint });
    const lastsMs = Number(made.expiresAtMs) - Date.now();
    expect(Math.abs(lastsMs - 3_600_000)).toBeLessThan(60_000);
    const { stdout } = await about("invite", "protected", ...address, "--expires", "2d");
    expect(stdout.split("\n")[0]).toMatch(/^afterimage1-\S+$/);
    expect(stdout).toContain("replicator join");
  });
  test("needs an address while nobody serves the vault", async () => {
    const { exitCode, stderr } = await about("invite", "protected");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^afterimage: USAGE: no server runs .*--address HOST:PORT — .*\n$/);
  });
  test.each([
    [["a name!", ...address], /cannot be a replicator's name/],
    [["protected", "--address", "nowhere"], /host and port/],
    [["protected", ...address, "--expires", "never"], /a duration/],
    [["protected", ...address, "--expires", "400d"], /a duration/],
  ])("%j is refused in one line", async (words, reason) => {
    const { exitCode, stderr } = await about("invite", ...words);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(reason);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });
});

test("nobody is enrolled at first, and whoever is not cannot be revoked", async () => {
  expect(await aboutJson("peers")).toEqual({ peers: [] });
  expect((await about("peers")).stdout).toMatch(/^Nobody is enrolled/);
  const { exitCode, stderr } = await about("revoke", "protected");
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining("no replicator protected")]);
  await about("invite", "protected", ...address);
  // An open invitation can be taken back.
  expect(await aboutJson("revoke", "protected")).toEqual({ name: "protected", channelsCut: null });
});

describe("raising", () => {
  test("hands a group to nobody who is not enrolled", async () => {
    const words = ["erp", "--holder", "other", "--reason", "lost", "--yes", "erp"];
    const { exitCode, stderr } = await about("raise", ...words);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("other is not enrolled")]);
  });
  test("knows its groups", async () => {
    const words = ["crm", "--holder", "other", "--reason", "lost", "--yes", "crm"];
    expect((await about("raise", ...words)).stderr).toMatch(/GROUP_UNKNOWN/);
  });
});

describe("serving", () => {
  const requests: VaultServeRequest[] = [];
  const serve = async (...words: readonly string[]) => {
    const serveVault = async (_: unknown, request: VaultServeRequest) =>
      void requests.push(request);
    const running = startCommand(["vault", "serve", ...words], { serveVault });
    const exitCode = await running.exitCode;
    return { exitCode, stdout: running.stdout(), stderr: running.stderr() };
  };
  let directory: string;
  beforeEach(async () => {
    requests.length = 0;
    directory = await mkdtemp(join(tmpdir(), "vault-config-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test("needs no configuration", async () => {
    expect((await serve("/srv/vault", "--listen", "[::]:7420")).exitCode).toBe(0);
    expect(requests).toMatchObject([
      {
        directory: "/srv/vault",
        log: "text",
        config: { listen: { host: "::", port: 7420 }, groupsMax: 256, silentAfterSeconds: null },
      },
    ]);
    const shown = await serve("/srv/vault", "--print-config", "--json");
    expect(JSON.parse(shown.stdout)).toMatchObject({ listen: { host: "127.0.0.1", port: 7420 } });
    expect(requests).toHaveLength(1);
  });
  test.each([
    ["listen: everywhere", /:1: listen: "everywhere" is no address/],
    ["advertise: [vault:0]", /:1: advertise\[0\]: .* is no address/],
    ["metrics: 0.0.0.0:9000", /metrics: .* no address of this host alone/],
    ["spool: {}", /:1: spool: unknown key/],
    ["silentAfterSeconds: 1s", /silentAfterSeconds: .*at least 5 seconds/],
    ["groups: [{name: a}, {name: a}]", /groups\[1\].name: a stands there twice/],
    ["retention: {pointsMax: 0}", /retention.pointsMax/],
  ])("%s is refused with its place", async (text, reason) => {
    const path = join(directory, "vault.yaml");
    await writeFile(path, text);
    const { exitCode, stderr } = await serve("/srv/vault", "--config", path);
    expect(stderr).toMatch(reason);
    expect(exitCode).toBe(2);
    expect(requests).toEqual([]);
  });
  test("an address that is none is refused", async () => {
    const { exitCode, stderr } = await serve("/srv/vault", "--listen", "here");
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('"here" is no address')]);
  });
});

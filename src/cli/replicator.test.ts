import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { command, startCommand } from "./command-for-test.ts";
import { readToken } from "./read-token.ts";
import type { ReplicatorRequest } from "./replicator.ts";

let directory: string;
let path: string;
const config = `state: /var/lib/state
scratch: {directory: /scratch}
groups: [{name: erp, machines: [{name: db, qmp: /db.qmp, disks: [{name: data, node: d0}]}]}]
`;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-replicator-"));
  path = join(directory, "a.yaml");
  await writeFile(path, config);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("replicator serve", () => {
  test("hands configuration, state and place on", async () => {
    const asked: ReplicatorRequest[] = [];
    const running = startCommand(["replicator", "serve", path, "--log", "json", "--json"], {
      serveReplicator: async (_, request) => {
        asked.push(request);
        const name = request.config.groups[0]!.name;
        return { groups: [{ name, points: 9, endedBy: "signal", fault: null }] };
      },
    });
    expect(await running.exitCode).toBe(0);
    expect(asked).toMatchObject([{ path, state: "/var/lib/state", log: "json", version: "1.2.3" }]);
    expect(JSON.parse(running.stdout()).groups).toMatchObject([{ points: 9 }]);
  });
  test("shows the effective configuration and does nothing", async () => {
    const { stdout } = await command("replicator", "serve", path, "--print-config");
    expect(stdout).toContain("clockOffsetMaxSeconds: 5");
  });
  test("of a configuration of one process names the other verb", async () => {
    await writeFile(path, config.replace("state:", "vault:"));
    const refused = await command("replicator", "serve", path);
    expect(refused).toMatchObject({ exitCode: 2 });
    expect(refused.stderr).toMatch(/CONFIG_INVALID: .*`vault`.*afterimage up/);
  });
});

describe("replicator join", () => {
  const join_ = (...words: readonly string[]) =>
    command("replicator", "join", ...words, "--state", join(directory, "state"));

  test("needs one token from one place", async () => {
    for (const words of [[], ["token", "--token-file", path]]) {
      expect((await join_(...words)).stderr).toMatch(/^afterimage: USAGE: give the token/);
    }
  });
  test("refuses what is no token without asking anybody", async () => {
    expect((await join_("nonsense")).stderr).toMatch(/^afterimage: TOKEN_INVALID/);
    expect((await join_("--token-file", path)).stderr).toMatch(/^afterimage: TOKEN_INVALID/);
    expect((await join_("--token-file", join(directory, "no"))).stderr).toMatch(/STORAGE_MISSING/);
  });
  test("reads a token from stdin, and no more than a token", async () => {
    const context = startCommandContext();
    async function* stdin(...parts: readonly string[]) {
      for (const part of parts) yield Buffer.from(part);
    }
    const given = { argument: "-", file: null };
    expect(await readToken(context, given, stdin("  abc", "def\n"))).toBe("abcdef");
    const flood = stdin(...Array.from({ length: 100 }, () => "x".repeat(1024)));
    await expect(readToken(context, given, flood)).rejects.toMatchObject({ code: "TOKEN_INVALID" });
    await expect(readToken(context, given, stdin("\n"))).rejects.toMatchObject({
      code: "TOKEN_INVALID",
      message: "there is no token in stdin",
    });
  });
});

/** Reading stdin takes nothing of it. */
function startCommandContext() {
  return {} as Parameters<typeof readToken>[0];
}

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { MIB } from "../base/units.ts";
import { serveControl } from "../control/server.ts";
import type { Point } from "../core/point.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { nodeVault, type TestVault } from "../journal/vault-for-test.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { connectNbd } from "../nbd/client.ts";
import { command, commandJson, startCommand } from "./command-for-test.ts";
import type { ReplicationRequest } from "./up.ts";

let vault: TestVault;
let history: TestHistory;
let points: Point[] = [];
let directory = "";

beforeAll(async () => {
  vault = await nodeVault();
  const journal = await vault.reopen();
  history = new TestHistory(7);
  history.addDisk("erp/data", 3 * MIB);
  history.addDisk("erp/wal", MIB);
  points = [];
  for (let count = 0; count < 3; count += 1) {
    history.scribble(4);
    points.push(await history.seal(journal));
  }
});
afterAll(() => vault[Symbol.asyncDispose]());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-cli-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("every verb", () => {
  const verbs = [
    ["vault", "init"],
    ["up"],
    ["status"],
    ["points"],
    ["mount"],
    ["export"],
    ["boot"],
    ["verify"],
    ["thin"],
    ["move-base"],
    ["scrub"],
    ["doctor"],
  ];
  test.each(verbs)("%s %s has help with an example, and --json", async (...words) => {
    const help = await command(...words, "--help");
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    expect(help.stdout).toContain(`Example:\n  $ afterimage ${words.join(" ")}`);
    expect(help.stdout).toContain("--json");
  });
  test("refuses options it does not take, in one line, with exit code 2", async () => {
    for (const words of verbs) {
      const refused = await command(...words, "--no-such");
      expect(refused.exitCode, words.join(" ")).toBe(2);
      expect(refused.stderr).toMatch(/^afterimage: USAGE: .* — .*\n$/);
    }
  });
  test("needs its arguments", async () => {
    for (const words of [
      [],
      ["vault"],
      ["points"],
      ["points", vault.directory],
      ["mount", "a", "b"],
    ]) {
      expect(await command(...words), words.join(" ")).toMatchObject({ exitCode: 2, stdout: "" });
    }
  });
});

test("--version prints the version", async () => {
  expect(await command("--version")).toEqual({ exitCode: 0, stdout: "1.2.3\n", stderr: "" });
});

test("an error is one line for people, and with --json one object more", async () => {
  const failed = await command("points", vault.directory, "nobody", "--json");
  expect(failed.exitCode).toBe(2);
  expect(failed.stderr).toMatch(/^afterimage: GROUP_UNKNOWN: [^\n]* — [^\n]*\n$/);
  expect(JSON.parse(failed.stdout)).toMatchObject({
    error: { code: "GROUP_UNKNOWN", nextStep: expect.any(String), retry: false },
  });
});

describe("vault init", () => {
  test("makes a vault, and never a second one in its place", async () => {
    const path = join(directory, "new");
    expect(await commandJson("vault", "init", path)).toMatchObject({
      directory: path,
      id: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(await command("vault", "init", path)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/VAULT_EXISTS/),
    });
  });
  test("does not touch a directory with other files", async () => {
    await writeFile(join(directory, "letter"), "dear");
    expect((await command("vault", "init", directory)).exitCode).toBe(2);
    expect(await readdir(directory)).toEqual(["letter"]);
  });
});

describe("status", () => {
  test("tells of groups, their newest point, RPO and what to do", async () => {
    expect(await commandJson("status", vault.directory)).toMatchObject({
      vault: { directory: vault.directory },
      writer: null,
      groups: [
        {
          name: "erp",
          state: "idle",
          points: 3,
          oldest: { sequence: 1 },
          newest: { sequence: 3, id: points[2]?.id },
          trouble: expect.stringContaining("afterimage up"),
        },
      ],
    });
    const { stdout } = await command("status", vault.directory);
    expect(stdout).toMatch(/GROUP +STATE[\s\S]*erp +idle +3/);
  });
  test("believes the running process, which knows newer than what is written", async () => {
    const newest = points[2]!;
    const takenAtMs = newest.instant.lowerMs;
    const telemetry = {
      ...{ rpoSeconds: 1.5, targetRpoSeconds: null, rpoQuantiles: null, lagSeconds: null },
      newest: { id: newest.id, sequence: 3, takenAtMs, currentAtMs: takenAtMs + 9000 },
      ...{ backlog: { points: 0, bytes: 0 }, etaSeconds: null, way: null, sync: null },
      interval: { seconds: 2, reason: "the interval is configured" },
      totals: {
        ...{ points: 3, dirtyBytes: 0, readBytes: 0, dataBytes: 0, zeroBytes: 0 },
        ...{ storedBytes: 0, missedIntervals: 0 },
      },
    };
    const groups = [{ name: "erp", state: "replicating", trouble: null, telemetry }];
    await using _server = await serveControl({
      path: controlSocket(vault.directory),
      clock: systemClock(),
      handle: async () => ({ pid: 7, startedAtMs: 5, groups }),
    });
    expect(await commandJson("status", vault.directory)).toMatchObject({
      groups: [{ rpoSeconds: 1.5, newest: { currentAtMs: takenAtMs + 9000 } }],
    });
  });
  test("does not wait for a writer that gives no answer", async () => {
    const quiet = Promise.withResolvers<null>();
    const { directory } = vault;
    const clock = systemClock();
    const path = controlSocket(directory);
    const server = await serveControl({ path, clock, handle: () => quiet.promise });
    const impatient = { ...clock, sleep: () => clock.sleep(20) };
    const running = startCommand(["status", directory, "--json"], {
      context: { clock: impatient },
    });
    expect(await running.exitCode).toBe(0);
    expect(JSON.parse(running.stdout())).toMatchObject({
      writer: "silent",
      groups: [{ state: "unknown", trouble: expect.stringContaining("gives no answer") }],
    });
    quiet.resolve(null);
    await server[Symbol.asyncDispose]();
  });
  test("of a directory that is no vault", async () => {
    expect(await command("status", directory)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/^afterimage: VAULT_MISSING/),
    });
  });
});

describe("points", () => {
  test("are listed oldest first", async () => {
    const listed = (await commandJson("points", vault.directory, "erp")) as { points: Point[] };
    expect(listed.points.map((point) => point.id)).toEqual(points.map((point) => point.id));
    expect(listed.points[0]).toMatchObject({ sequence: 1, machines: ["erp"] });
    const { stdout } = await command("points", vault.directory, "erp");
    expect(stdout.split("\n")[1]).toMatch(/^ *#1 +[0-9a-f]{16} +2023-11-14 .* UTC/);
  });
});

describe("mount", () => {
  const mount = (...words: readonly string[]) =>
    startCommand(["mount", vault.directory, "erp", "--json", ...words]);

  interface Served {
    readonly point: { readonly sequence: number };
    readonly disks: readonly { readonly name: string; readonly uri: string }[];
  }

  async function served(running: ReturnType<typeof mount>): Promise<Served> {
    while (running.stdout() === "") {
      await Promise.race([running.exitCode, new Promise((resolve) => setImmediate(resolve))]);
      if (running.stderr() !== "") throw new Error(running.stderr());
    }
    return JSON.parse(running.stdout()) as Served;
  }

  test("serves each disk as it was at the point until interrupted", async () => {
    const socket = join(directory, "nbd");
    const running = mount("--point", "#2", "--socket", socket);
    const { point, disks } = await served(running);
    expect(point.sequence).toBe(2);
    expect(disks.map((disk) => disk.name)).toEqual(["erp/data", "erp/wal"]);
    for (const disk of points[1]!.disks) {
      await using client = await connectNbd({ address: { path: socket }, exportName: disk.name });
      const read = new Uint8Array(disk.sizeBytes);
      await client.read(0, read);
      const expected = history.remembered.get(points[1]!.id)?.get(disk.identity);
      expect(expected?.equals(read), disk.name).toBe(true);
    }
    running.interrupt();
    expect(await running.exitCode).toBe(0);
    await expect(stat(socket)).rejects.toThrow("ENOENT");
  });
  test("on TCP tells the port it found", async () => {
    const running = mount("--point", "newest", "--port", "0");
    expect((await served(running)).disks[0]?.uri).toMatch(/^nbd:\/\/127\.0\.0\.1:\d+\/erp%2Fdata$/);
    running.interrupt();
    expect(await running.exitCode).toBe(0);
  });
  test("of a point that is not there", async () => {
    const running = mount("--point", "#99");
    expect(await running.exitCode).toBe(2);
    expect(running.stderr()).toMatch(/^afterimage: POINT_UNKNOWN: no point "#99"; there are 3/);
  });
  test("refuses a port that is none", async () => {
    const running = mount("--point", "newest", "--port", "65536");
    expect(await running.exitCode).toBe(2);
  });
});

describe("export", () => {
  const exporting = (...words: readonly string[]) =>
    commandJson("export", vault.directory, "erp", ...words);

  test("writes raw images that are what the point was", async () => {
    const out = join(directory, "out");
    const result = await exporting("--point", "1", "--out", out);
    expect(result).toMatchObject({
      format: "raw",
      disks: [{ path: join(out, "erp/data.raw") }, {}],
    });
    for (const disk of points[0]!.disks) {
      const written = await readFile(join(out, `${disk.name}.raw`));
      const expected = history.remembered.get(points[0]!.id)?.get(disk.identity);
      expect(expected?.equals(written), disk.name).toBe(true);
    }
    expect(await readdir(join(out, "erp"))).toEqual(["data.raw", "wal.raw"]);
  });
  test("replaces nothing", async () => {
    await mkdir(join(directory, "erp"));
    await writeFile(join(directory, "erp/wal.raw"), "mine");
    const refused = await exporting("--point", "newest", "--out", directory);
    expect(refused).toMatchObject({ error: { code: "USAGE" } });
    expect(await readdir(join(directory, "erp"))).toEqual(["wal.raw"]);
  });
  test("looks for room before it writes", async () => {
    const full = { ...nodeFileSystem(), freeBytes: async () => 1000 };
    const words = ["export", vault.directory, "erp", "--point", "newest", "--out", directory];
    const running = startCommand(words, { context: { files: full } });
    expect(await running.exitCode).toBe(2);
    expect(running.stderr()).toMatch(/STORAGE_FULL: .* has 1000 B free, the point needs/);
    expect(await readdir(directory)).toEqual([]);
  });
  test("that is interrupted leaves nothing", async () => {
    const words = ["export", vault.directory, "erp", "--point", "newest", "--out", directory];
    const running = startCommand(words);
    running.interrupt();
    expect(await running.exitCode).toBe(2);
    expect(running.stderr()).toMatch(/afterimage: ABORTED/);
    expect(await readdir(directory)).toEqual([]);
  });
  test("to a format that is none", async () => {
    const refused = await command(
      "export",
      "a",
      "b",
      "--point",
      "1",
      "--out",
      "c",
      "--format",
      "vmdk",
    );
    expect(refused.stderr).toMatch(/USAGE: .*vmdk.*raw, qcow2/);
  });
});

describe("up", () => {
  const config = (vaultPath: string) => `vault: ${vaultPath}
scratch: {directory: ${join(tmpdir(), "afterimage-scratch")}}
groups: [{name: erp, machines: [{name: db, qmp: /run/db.qmp, disks: [{name: data, node: d0}]}]}]
`;

  test("shows the effective configuration and does nothing", async () => {
    const path = join(directory, "a.yaml");
    await writeFile(path, config("/srv/vault"));
    const shown = await command("up", path, "--print-config");
    expect(shown).toMatchObject({ exitCode: 0, stderr: "" });
    expect(shown.stdout).toMatch(/^vault: \/srv\/vault\n(.*\n)*intervalSeconds: 10\n/);
    expect(await commandJson("up", path, "--print-config")).toMatchObject({ intervalSeconds: 10 });
  });
  test("hands the configuration on, and tells how each group ended", async () => {
    const path = join(directory, "a.yaml");
    await writeFile(path, config("/srv/vault"));
    const asked: ReplicationRequest[] = [];
    const running = startCommand(["run", path, "--cycles", "4", "--log", "json", "--json"], {
      replicate: async (_, request) => {
        asked.push(request);
        const name = request.config.groups[0]!.name;
        return { groups: [{ name, points: 4, endedBy: "cycles", fault: null }] };
      },
    });
    expect(await running.exitCode).toBe(0);
    expect(asked).toMatchObject([{ cycles: 4, log: "json" }]);
    expect(JSON.parse(running.stdout())).toEqual({
      groups: [{ name: "erp", points: 4, endedBy: "cycles", fault: null }],
    });
  });
  test("a configuration of two sites is for the other verb", async () => {
    const path = join(directory, "a.yaml");
    await writeFile(path, config("/srv/vault").replace("vault:", "state:"));
    const refused = await command("up", path);
    expect(refused.stderr).toMatch(/CONFIG_INVALID: .*`state`.*afterimage replicator serve/);
  });
  test("names what is wrong with the configuration", async () => {
    const path = join(directory, "a.yaml");
    await writeFile(path, `${config("/srv/vault")}intervals: 3\n`);
    const refused = await command("up", path);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toMatch(
      /^afterimage: CONFIG_INVALID: .*a.yaml:4: intervals: unknown key — /,
    );
    expect(await command("run", join(directory, "none.yaml"))).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/STORAGE_MISSING/),
    });
  });
});

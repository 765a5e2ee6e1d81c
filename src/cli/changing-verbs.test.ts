import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { MIB } from "../base/units.ts";
import { performChange } from "../control/group-changes.ts";
import type { ControlRequest } from "../control/requests.ts";
import { serveControl } from "../control/server.ts";
import type { Point } from "../core/point.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { nodeVault, type TestVault } from "../journal/vault-for-test.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { command, commandJson, startCommand } from "./command-for-test.ts";

let vault: TestVault;
let history: TestHistory;
let journal: DirectoryJournal;

beforeEach(async () => {
  vault = await nodeVault();
  journal = await vault.reopen();
  history = new TestHistory(11);
  history.addDisk("erp/data", 2 * MIB);
  for (let count = 0; count < 6; count += 1) {
    history.scribble(3);
    await history.seal(journal);
  }
});
afterEach(() => vault[Symbol.asyncDispose]());

async function sequences(): Promise<readonly number[]> {
  const { points } = (await commandJson("points", vault.directory, "erp")) as { points: Point[] };
  return points.map((point) => point.sequence);
}

/** Every point that is left reads back as it was. */
async function checkAll(): Promise<void> {
  await using reading = await vault.reader();
  await history.check(await reading.reader("erp" as never));
}

describe("thin", () => {
  test("keeps the named points and the newest, and merges the rest", async () => {
    await vault.close();
    const words = ["thin", vault.directory, "erp", "--keep", "#2", "--keep", "oldest"];
    expect(await commandJson(...words)).toEqual({ group: "erp", retired: 3, merged: 4, kept: 3 });
    expect(await sequences()).toEqual([1, 2, 6]);
    await checkAll();
  });
  test("by age keeps everything that is young", async () => {
    await vault.close();
    expect(await commandJson("thin", vault.directory, "erp")).toMatchObject({
      retired: 0,
      kept: 6,
    });
    const tomorrow = { ...systemClock(), nowMs: () => Date.now() + 2 * 86_400_000 };
    const words = ["thin", vault.directory, "erp", "--step", "1d:365d", "--json"];
    const running = startCommand(words, { context: { clock: tomorrow } });
    expect(await running.exitCode).toBe(0);
    expect(await sequences()).toEqual([1, 6]);
    await checkAll();
  });
  test("shows what would go without changing anything, beside a writer", async () => {
    const words = ["thin", vault.directory, "erp", "--keep", "1", "--dry-run"];
    expect(await commandJson(...words)).toEqual({ group: "erp", retired: 4, kept: 2 });
    expect(await sequences()).toHaveLength(6);
  });
  test("refuses a step that is none", async () => {
    for (const step of ["1d", "1d:0s", "1d:1h:1h", "day:hour", "1x:1h", "-1d:1h"]) {
      const refused = await command("thin", vault.directory, "erp", `--step=${step}`);
      expect(refused.stderr, step).toMatch(/^afterimage: USAGE: /);
    }
  });
});

describe("move-base", () => {
  test("retires what lies before the point", async () => {
    await vault.close();
    const words = ["move-base", vault.directory, "erp", "--to", "#4"];
    expect(await commandJson(...words)).toMatchObject({ point: { sequence: 4 }, retired: 3 });
    expect(await sequences()).toEqual([4, 5, 6]);
    await checkAll();
  });
  test("does not move beneath a point that somebody reads", async () => {
    await vault.close();
    const mount = startCommand(["mount", vault.directory, "erp", "--point", "1", "--json"]);
    while (mount.stdout() === "") await systemClock().sleep(1);
    const refused = await command("move-base", vault.directory, "erp", "--to", "newest");
    expect(refused).toMatchObject({ exitCode: 2, stdout: "" });
    expect(refused.stderr).toMatch(/POINT_PINNED: .*#1/);
    mount.interrupt();
    expect(await mount.exitCode).toBe(0);
    expect((await command("move-base", vault.directory, "erp", "--to", "newest")).exitCode).toBe(0);
    await checkAll();
  });
});

describe("while another process writes", () => {
  const verbs = [
    ["thin", ["--keep", "1"]],
    ["move-base", ["--to", "3"]],
  ] as const;

  test.each(verbs)("%s is refused when that process takes no requests", async (verb, words) => {
    const refused = await command(verb, vault.directory, "erp", ...words);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toMatch(/^afterimage: VAULT_BUSY/m);
    expect(await sequences()).toHaveLength(6);
  });
  test.each(verbs)("%s goes through its socket", async (verb, words) => {
    const asked: ControlRequest[] = [];
    await using _server = await serveControl({
      path: controlSocket(vault.directory),
      clock: systemClock(),
      handle: async (request, options) => {
        asked.push(request);
        // Sealed after the list was read: not named, so it stays.
        await history.seal(journal);
        return "group" in request
          ? performChange(journal, request, { ...options, clock: systemClock() })
          : null;
      },
    });
    expect((await command(verb, vault.directory, "erp", ...words)).exitCode).toBe(0);
    expect(asked).toMatchObject([{ verb, group: "erp" }]);
    expect(await sequences()).toEqual(verb === "thin" ? [1, 6, 7] : [3, 4, 5, 6, 7]);
    await checkAll();
  });
});

describe("verify", () => {
  const verify = (...words: readonly string[]) =>
    commandJson("verify", vault.directory, "erp", ...words);

  /** Flips one bit in the middle of a delta, or of the base. */
  async function damage(place: "deltas" | "base", number: number): Promise<string> {
    const directory = vault.layout[place];
    const names = (await readdir(directory)).filter((name) => !name.endsWith(".hashes")).sort();
    const path = join(directory, names[number]!);
    const bytes = await readFile(path);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = bytes[at]! ^ 1;
    await writeFile(path, bytes);
    return path;
  }

  test("of a good vault finds every point good, beside the writer, and changes nothing", async () => {
    expect(await verify()).toMatchObject({
      ok: true,
      findings: [],
      pointsLost: [],
      pointsGood: [1, 2, 3, 4, 5, 6].map((sequence) => ({ sequence })),
    });
    const { points } = (await commandJson("points", vault.directory, "erp")) as { points: Point[] };
    expect(points.every((point) => point.verifiedAtMs === null)).toBe(true);
  });
  test("of one point reads only what it needs", async () => {
    const all = (await verify()) as { checkedBytes: number };
    const one = (await verify("--point", "1")) as { checkedBytes: number; pointsGood: unknown[] };
    expect(one.pointsGood).toHaveLength(1);
    expect(one.checkedBytes).toBeLessThan(all.checkedBytes);
  });
  test("enters what it found good when it is asked to", async () => {
    await vault.close();
    await verify("--record");
    const { points } = (await commandJson("points", vault.directory, "erp")) as { points: Point[] };
    expect(points.every((point) => point.verifiedAtMs !== null)).toBe(true);
    expect((await command("points", vault.directory, "erp")).stdout).toContain("verified");
  });
  test("names a damaged file, the points lost and the points still good, with exit code 1", async () => {
    const path = await damage("deltas", 3);
    const people = await command("verify", vault.directory, "erp");
    expect(people.exitCode).toBe(1);
    expect(people.stdout).toContain(path);
    expect(people.stdout).toMatch(/points lost: #4/);
    expect(people.stdout).toMatch(/Points still good: #1, #2, #3/);
    expect(people.stderr).toMatch(/^afterimage: CHECK_FAILED: erp: 1 damaged files/m);
    expect(await verify()).toMatchObject({
      ok: false,
      findings: [{ path, code: "DELTA_CORRUPT" }],
    });
  });
  test("names a delta that is not there", async () => {
    const [first] = (await readdir(vault.layout.deltas)).sort();
    await rm(join(vault.layout.deltas, first!));
    const { exitCode, stderr } = await command("verify", vault.directory, "erp");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/CHECK_FAILED/);
    const mount = await command("mount", vault.directory, "erp", "--point", "1");
    expect(mount).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("DELTA_MISSING") });
  });
});

describe("scrub", () => {
  test("enters which points are verified", async () => {
    await vault.close();
    const scrubbed = await commandJson("scrub", vault.directory, "erp", "--rate", "1GiB");
    expect(scrubbed).toMatchObject({ ok: true, findings: [] });
    const { points } = (await commandJson("points", vault.directory, "erp")) as { points: Point[] };
    expect(points.every((point) => point.verifiedAtMs !== null)).toBe(true);
  });
  test("goes through the running writer", async () => {
    await using _server = await serveControl({
      path: controlSocket(vault.directory),
      clock: systemClock(),
      handle: async (request, options) =>
        "group" in request
          ? performChange(journal, request, { ...options, clock: systemClock() })
          : null,
    });
    const scrubbed = await command("scrub", vault.directory, "erp", "--rate", "1GiB");
    expect(scrubbed).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("6 points good"),
    });
    expect(journal.points().every((point) => point.verifiedAtMs !== null)).toBe(true);
  });
  test("of a group that is not there", async () => {
    const refused = await command("scrub", vault.directory, "nobody");
    expect(refused).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("GROUP_UNKNOWN"),
    });
  });
});

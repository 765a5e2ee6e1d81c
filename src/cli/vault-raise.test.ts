import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { seededPrng } from "../base/prng.ts";
import { MIB } from "../base/units.ts";
import { performChange } from "../control/group-changes.ts";
import type { ControlRequest } from "../control/requests.ts";
import { type ControlServer, serveControl } from "../control/server.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { sqliteLocks } from "../journal/sqlite-locks.ts";
import { nodeVault, type TestVault } from "../journal/vault-for-test.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import type { CommandContext } from "./command-context.ts";
import { recordedTerminal } from "./terminal.ts";
import { raiseCommand } from "./vault-raise.ts";

// A server that knows two replicators: the one that holds the group, and another.

const holder = { name: "protected", id: "00000000000000aa", state: "enrolled" };
const other = { name: "second", id: "00000000000000bb", state: "enrolled" };
const common = { enrolledAtMs: 1, notAfterMs: 2, channels: 0, groups: [] };

let vault: TestVault;
let server: ControlServer;
let asked: ControlRequest[];

beforeEach(async () => {
  asked = [];
  vault = await nodeVault();
  const journal = await vault.reopen();
  const history = new TestHistory(3);
  history.addDisk("db/data", MIB);
  await history.seal(journal);
  const clock = systemClock();
  server = await serveControl({
    path: controlSocket(vault.directory),
    clock,
    handle: async (request, options) => {
      asked.push(request);
      if ("group" in request) return performChange(journal, request, { ...options, clock });
      return { peers: [holder, other].map((peer) => ({ ...common, ...peer })) };
    },
  });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await vault[Symbol.asyncDispose]();
});

/** Runs the command; a person who is asked types `answer`. */
async function raise(answer: string | null, ...words: readonly string[]) {
  const terminal = recordedTerminal();
  const questions: string[] = [];
  const context = {
    terminal,
    files: vault.files,
    clock: systemClock(),
    prng: seededPrng(1),
    locks: sqliteLocks(),
    signal: new AbortController().signal,
    isTracing: false,
  } as unknown as CommandContext;
  const ask = async (question: string) => {
    questions.push(question);
    return answer;
  };
  const given = ["erp", "--vault", vault.directory, "--reason", "the first site burnt", ...words];
  const running = raiseCommand(context, ask).exitOverride().parseAsync(given, { from: "user" });
  const fault = await running.then(
    () => null,
    (error: unknown) => error as Error,
  );
  return { fault, questions, stdout: terminal.stdout() };
}

const changes = () => asked.filter(({ verb }) => verb === "raise");

test("who holds the group is shown, and the group's name has to be typed", async () => {
  const { fault, questions, stdout } = await raise("erp\n", "--holder", "second");
  expect(fault).toBeNull();
  expect(questions).toEqual([
    expect.stringMatching(
      /^erp is held by protected \(00000000000000aa\), generation 1\. .*second/,
    ),
  ]);
  expect(stdout).toBe("Generation 2 of erp is held by second (00000000000000bb).\n");
  expect(changes()).toMatchObject([{ holder: other.id, reason: "the first site burnt" }]);
});

test("another name changes nothing", async () => {
  for (const typed of ["yes", "", "ERP"]) {
    const { fault } = await raise(typed, "--holder", "second");
    expect(fault?.message).toMatch(/nothing was changed/);
  }
  expect(changes()).toEqual([]);
});

test("where nobody can be asked the name is said beforehand, and must be right", async () => {
  const silent = await raise(null, "--holder", "second");
  expect(silent.fault?.message).toMatch(/is held by protected.*; say --yes erp/);
  const wrong = await raise(null, "--holder", "second", "--yes", "crm");
  expect(wrong.fault?.message).toMatch(/nothing was changed/);
  expect(changes()).toEqual([]);
  const right = await raise(null, "--holder", "second", "--yes", "erp");
  expect(right.fault).toBeNull();
  expect(right.questions).toEqual([]);
});

test("a group is not handed to one that was revoked", async () => {
  Object.assign(other, { state: "revoked" });
  const { fault } = await raise("erp", "--holder", "second");
  Object.assign(other, { state: "enrolled" });
  expect(fault?.message).toMatch(/second is not enrolled/);
});

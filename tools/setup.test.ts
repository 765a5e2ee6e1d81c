import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

let root = "";

/** A program of the host, replaced by a script that also writes down how it was called. */
function program(name: string, script: string): void {
  const path = join(root, "programs", name);
  writeFileSync(path, `#!/bin/sh\necho "${name} $*" >>"${join(root, "calls")}"\n${script}\n`);
  chmodSync(path, 0o755);
}

function setup(...words: readonly string[]) {
  rmSync(join(root, "calls"), { force: true });
  const { status, stderr } = spawnSync("/bin/sh", [join(root, "tools/setup.sh"), ...words], {
    encoding: "utf8",
    env: { PATH: `${join(root, "programs")}:/usr/bin:/bin` },
  });
  let calls: readonly string[] = [];
  try {
    calls = readFileSync(join(root, "calls"), "utf8").trim().split("\n");
  } catch {
    // Nothing was called.
  }
  return { status, stderr, changes: calls.filter((call) => /^(npm|apt-get) /.test(call)) };
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "afterimage-setup-"));
  for (const directory of ["programs", "tools"]) mkdirSync(join(root, directory));
  copyFileSync(new URL("./setup.sh", import.meta.url), join(root, "tools/setup.sh"));
  writeFileSync(join(root, "package-lock.json"), "{}");
  program("npm", "mkdir -p node_modules");
  program("node", "echo v26.1.0");
  program("id", "echo 0");
  program("apt-get", "");
  program("apt-cache", "echo linux-image-cloud-amd64");
  program("dpkg-query", "echo 'ii '");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("npm packages", () => {
  test("are installed in a fresh clone, once, and again when the lockfile changes", () => {
    expect(setup("check").changes).toEqual(["npm ci --no-audit --no-fund --loglevel=error"]);
    expect(setup("check")).toMatchObject({ status: 0, changes: [] });
    writeFileSync(join(root, "package-lock.json"), '{"changed": true}');
    expect(setup("check").changes).toHaveLength(1);
  });
  test("that do not install are tried again the next time", () => {
    program("npm", "exit 1");
    expect(setup("check")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("npm ci failed"),
    });
    expect(setup("check").changes).toHaveLength(1);
  });
  test("without a Node that is new enough end with a word", () => {
    program("node", "echo v20.20.2");
    expect(setup("check")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("no Node 26"),
    });
  });
});

test("the library that Node needs is installed where it is missing, also for the inner loop", () => {
  const installed = join(root, "libatomic");
  program("node", `[ -e "${installed}" ] && echo v26.1.0`);
  program("dpkg-query", "exit 1");
  program("apt-get", `[ "$1" != install ] || touch "${installed}"`);
  expect(setup("check")).toMatchObject({
    status: 0,
    stderr: expect.stringContaining("installing Debian packages: libatomic1"),
  });
  rmSync(installed);
  program("id", "echo 1000");
  expect(setup("check")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("apt-get install --no-install-recommends libatomic1"),
  });
});

describe("Debian packages", () => {
  const missing = (name: string) =>
    program("dpkg-query", `case "$*" in *" ${name}") exit 1 ;; *) echo 'ii ' ;; esac`);

  test("are left alone when they are there, and never asked for by the inner loop", () => {
    setup("check");
    expect(setup("test")).toMatchObject({ status: 0, changes: [] });
    missing("nbdkit");
    expect(setup("check")).toMatchObject({ status: 0, changes: [] });
  });
  test("that are missing are installed by root, after the lists were read", () => {
    setup("check");
    missing("nbdkit");
    expect(setup("test")).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("installing Debian packages: nbdkit"),
      changes: ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends nbdkit"],
    });
    expect(setup("demo").changes).toEqual([]);
  });
  test("that are missing are named to everybody else", () => {
    setup("check");
    missing("qemu-utils");
    program("id", "echo 1000");
    expect(setup("demo")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("apt-get install --no-install-recommends qemu-utils"),
      changes: [],
    });
  });
  test("that only one bench needs are installed for that one", () => {
    setup("check");
    missing("virtnbdbackup");
    expect(setup("bench", "pull").changes).toEqual([]);
    expect(setup("bench", "cycle").changes.at(-1)).toMatch(/ virtnbdbackup$/);
  });
  test("are not half trusted: an apt that fails ends it", () => {
    setup("check");
    missing("fio");
    program("apt-get", "exit 100");
    expect(setup("test")).toMatchObject({ status: 2, changes: ["apt-get update -qq"] });
  });
});

test("a task that there is not", () => {
  expect(setup("polish")).toMatchObject({ status: 2, stderr: expect.stringContaining("polish") });
});
